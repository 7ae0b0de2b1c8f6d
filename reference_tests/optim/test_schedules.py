"""Learning-rate schedules: their shapes, and what they do with every step."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import InputError
from nfnumpy.optim import constant, cosine, exponential_decay, step_decay, warmup_cosine

EPS = np.finfo(np.float64).eps
EVERY = {"constant": constant(0.3), "cosine": cosine(0.3, 10), "warmup_cosine": warmup_cosine(0.3, 4, 10),
         "exponential_decay": exponential_decay(0.3, 4, 0.5, 3), "step_decay": step_decay(0.3, 4, 0.5, [5, 9])}


@given(st.floats(1e-6, 100), st.integers(1, 50), st.integers(1, 500))
def test_warmup_cosine_rises_in_a_line_and_falls_to_zero(peak, warmup, rest):
    rate, total = warmup_cosine(peak, warmup, warmup + rest), warmup + rest
    assert rate(0) == 0.0 and rate(warmup) == peak and rate(total) == 0.0 and rate(total + 10) == 0.0
    rising, falling = [[rate(t) for t in span] for span in (range(warmup + 1), range(warmup, total + 1))]
    np.testing.assert_allclose(np.diff(rising), peak / warmup, rtol=0, atol=4 * EPS * peak)
    assert (np.diff(falling) < 0).all()
    assert rate(warmup + rest / 2) == pytest.approx(peak / 2, rel=4 * EPS)


@given(st.floats(1e-6, 100), st.integers(2, 500))
def test_cosine_is_that_without_warmup(peak, total):
    assert all(cosine(peak, total)(t) == warmup_cosine(peak, 0, total)(t) for t in range(total + 2))
    assert cosine(peak, total)(0) == peak and constant(peak)(total) == peak


def test_exponential_decay_multiplies_after_every_interval_counted_from_the_beginning():
    rate = exponential_decay(0.8, 4, 0.5, 10)
    assert [rate(t) for t in (0, 1, 3, 4, 9, 10, 20, 30)] == [0.0, 0.2, 0.6000000000000001, 0.8, 0.8, 0.4, 0.2, 0.1]
    assert exponential_decay(0.8, 4, 0.5, 2)(4) == 0.2  # the warm-up does not delay it


@given(st.integers(0, 350 * 625 - 1))
def test_exponential_decay_is_that_of_efficientnet(step):
    """0.97 after every 2.4 epochs, of 625 steps each: 1,500 steps, in whole numbers."""
    rate = exponential_decay(0.128, 5 * 625, 0.97, 2.4 * 625)
    expected = 0.128 * step / 3125 if step < 3125 else 0.128 * 0.97 ** (step // 1500)
    assert rate(step) == pytest.approx(expected, rel=4 * EPS)


def test_step_decay_multiplies_at_every_milestone():
    """The ResNets': a tenth after 30, 60 and 80 epochs."""
    rate = step_decay(0.1, 5, 0.1, [30, 60, 80])
    assert [rate(t) for t in (0, 4, 5, 29, 29.9)] == [0.0, 0.08, 0.1, 0.1, 0.1]
    assert [rate(t) for t in (30, 60, 79, 80, 1000)] == pytest.approx([1e-2, 1e-3, 1e-3, 1e-4, 1e-4], rel=8 * EPS)
    assert step_decay(0.3, 0, 0.5, [])(100) == 0.3


@given(st.sampled_from(sorted(EVERY)), st.floats(0, 1e9))
def test_every_step_from_zero_on_has_a_rate_within_the_peak(name, step):
    """Fractional ones and those beyond the end too."""
    assert 0.0 <= EVERY[name](step) <= 0.3


@given(st.sampled_from(["cosine", "warmup_cosine"]), st.floats(10, 1e9))
def test_beyond_the_end_a_cosine_stays_at_zero(name, step):
    assert EVERY[name](step) == 0.0


@given(st.floats(0, 9), st.floats(0, 1))
def test_between_whole_steps_the_rate_is_between_theirs(start, part):
    """Where the schedule is continuous; 4 roundings of numbers below the peak."""
    for name in ("constant", "cosine", "warmup_cosine"):
        rate = EVERY[name]
        if name == "warmup_cosine" and start < 4 < start + 1:
            continue  # the peak is in between
        low, high = sorted([rate(start), rate(start + 1)])
        assert low - 4 * EPS <= rate(start + part) <= high + 4 * EPS


@pytest.mark.parametrize("step", [-1, -0.5, -math.inf, math.inf, math.nan, "1", None], ids=str)
@pytest.mark.parametrize("name", EVERY)
def test_a_step_that_is_none_is_refused(name, step):
    with pytest.raises(InputError, match="step"):
        EVERY[name](step)


@pytest.mark.parametrize("make", [lambda: warmup_cosine(1.0, 11, 10), lambda: warmup_cosine(1.0, -1, 10),
                                  lambda: exponential_decay(1.0, 0, 0.0, 5), lambda: exponential_decay(1.0, 0, 0.5, 0),
                                  lambda: exponential_decay(1.0, -1, 0.5, 5), lambda: constant(-1.0),
                                  lambda: cosine(1.0, -1), lambda: cosine(math.nan, 10),
                                  lambda: warmup_cosine("1", 0, 10), lambda: exponential_decay(1.0, 0, 0.5, math.nan),
                                  lambda: step_decay(1.0, 0, 1.5, [5]), lambda: step_decay(1.0, 0, 0.5, [-1]),
                                  lambda: step_decay(1.0, 0, 0.5, 5), lambda: step_decay(1.0, 0, 0.5, "30,60")])
def test_an_invalid_schedule_is_refused(make):
    with pytest.raises(InputError):
        make()
