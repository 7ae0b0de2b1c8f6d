"""A training that goes astray is noticed once and early; one that learns is not, and nothing is stopped."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy.training import NotFinite, train
from nfnumpy.training.divergence import EXPLODED, RISEN, STILL, WINDOW, LossWatch
from reference_tests.helpers.strategies import seeds

CHANCE = math.log(10)


def words_about(losses, warmup_steps=88, steps_per_epoch=44, start=1):
    """[(step, what is said)] for these losses from step `start` on."""
    watch = LossWatch(10, warmup_steps, steps_per_epoch)
    said = [(step, watch.see(step, float(loss))) for step, loss in enumerate(losses, start)]
    return [(step, words) for step, words in said if words is not None]


@given(seed=seeds, floor=st.floats(0.05, 1.5), noise=st.floats(0.0, 0.25), half_life=st.floats(5.0, 120.0))
def test_a_loss_that_falls_with_noise_is_left_alone(seed, floor, noise, half_life):
    """Steps deviate by up to a quarter of log(classes), and one in a hundred is five times log(classes)."""
    random = np.random.default_rng(seed)
    steps = np.arange(600)
    losses = floor + (CHANCE - floor) * 0.5 ** (steps / half_life) + noise * CHANCE * random.uniform(-1, 1, 600)
    losses[50::100] = 5 * CHANCE
    assert not words_about(losses)


def test_a_step_above_the_bound_is_an_explosion():
    (said,) = words_about([2.3, 0.99 * EXPLODED * CHANCE, 1.01 * EXPLODED * CHANCE, 1e6])
    assert said[0] == 3 and said[1].startswith("the loss explodes") and "2.30 of a network that knows" in said[1]


@pytest.mark.parametrize("rise, is_said", [(0.95 * RISEN, False), (1.05 * RISEN, True)])
def test_a_mean_far_above_its_least_value_has_risen(rise, is_said):
    losses = [0.5] * WINDOW + [0.5 + rise * CHANCE] * 2 * WINDOW
    said = words_about(losses)
    assert bool(said) == is_said
    if is_said:
        assert said[0][1].startswith("the loss rises") and "after 0.5" in said[0][1]


@pytest.mark.parametrize("share, is_said", [(STILL - 0.001, False), (STILL, True), (1.2, True)])
@pytest.mark.parametrize("steps_per_epoch", [7, 44, 300])
def test_a_loss_that_stays_is_noticed_an_epoch_after_the_warm_up(share, is_said, steps_per_epoch):
    said = words_about([share * CHANCE + 1e-9] * 600, 88, steps_per_epoch)
    assert [step for step, _ in said] == ([88 + max(steps_per_epoch, 2 * WINDOW)] if is_said else [])
    if is_said:
        assert said[0][1].startswith("the loss does not fall")


def test_a_resumed_run_waits_for_its_own_steps():
    assert not words_about([2.4] * (WINDOW - 1), start=5000)
    assert words_about([2.4] * WINDOW, start=5000)[0][0] == 5000 + WINDOW - 1


def test_a_run_says_what_helps_once_and_goes_on(few_digits, tmp_path, capsys):
    """Far too high a rate without clipping explodes before it ends by itself."""
    with pytest.raises(NotFinite):
        train({"data": f"idx:{few_digits}", "epochs": 40, "batch_size": 12, "agc": None, "lr": 1.0,
               "warmup_epochs": 20.0, "out": str(tmp_path / "run")})
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("the loss")]
    assert len(said) == 1 and "--agc 0.01" in said[0] and "another --lr than 1 (--find-lr suggests one" in said[0]
