"""The scale of the loss: its growth, its limits, and what happens when no scale helps."""

import numpy as np
import pytest

import nfnumpy as nf
from nfnumpy import InputError
from nfnumpy.errors import NotFinite
from nfnumpy.optim import SGD, ExponentialMovingAverage, LossScale
from reference_tests.helpers.named_parameters import equal, parameters_with_gradients, set_gradients, values

NUMPY = nf.backend.get("numpy")
TRUE, FALSE = np.asarray(True), np.asarray(False)


def test_the_scale_doubles_in_time_and_halves_on_overflow():
    scale = LossScale(NUMPY, initial=8.0, interval=3)
    found = []
    for finite in (TRUE, TRUE, TRUE, TRUE, FALSE, TRUE, TRUE, TRUE):
        scale.update(finite)
        found.append(float(scale.scale))
    assert found == [8, 8, 16, 16, 8, 8, 8, 16] and float(scale.inverse()) == 1 / 16


def test_the_scale_stays_between_its_limits():
    scale = LossScale(NUMPY, initial=8.0, interval=1, smallest=2.0, largest=32.0)
    for finite, expected in ((TRUE, 16), (TRUE, 32), (TRUE, 32), (FALSE, 16), (FALSE, 8), (FALSE, 4), (FALSE, 2),
                             (FALSE, 2)):
        scale.update(finite)
        assert float(scale.scale) == expected


def test_200_overflows_are_not_silent_and_leave_a_scale():
    scale = LossScale(NUMPY)
    with pytest.raises(NotFinite, match=r"50 steps in a row.*lower the learning rate"):
        for _ in range(200):
            scale.update(FALSE)
    assert 0.0 < float(scale.scale) and np.isfinite(float(scale.inverse()))


def test_only_overflows_in_a_row_are_counted():
    scale = LossScale(NUMPY, most_skipped=3)
    for finite in (FALSE, FALSE, TRUE, FALSE, FALSE, TRUE):
        scale.update(finite)
        assert bool(scale.proceeded) == bool(finite)
    assert int(scale.skipped_steps) == 0


def test_a_training_loop_whose_gradients_overflow_for_ever_ends():
    """The loss may be finite all the time; no weight changes, and the average does not count the steps."""
    parameters = parameters_with_gradients()
    before, steps = values(parameters), 0
    optimizer = SGD(parameters, lr=0.1, loss_scale=LossScale(NUMPY, most_skipped=5))
    average = ExponentialMovingAverage(parameters, 0.9)
    with pytest.raises(NotFinite):
        while steps < 100:
            set_gradients(parameters, seed=steps, scale=np.nan)
            optimizer.step()
            average.update(optimizer.loss_scale.proceeded)
            steps += 1
    assert steps == 4 and equal(before, values(parameters))
    assert int(average.updates) == 0 and equal(average.average, before)


def test_gradients_whose_squares_overflow_are_finite():
    scale = LossScale(NUMPY)
    assert scale.finite([np.full(3, 1e38, np.float32)]) and not scale.finite([np.asarray([1.0, np.inf], np.float32)])


def test_an_average_over_skipped_steps_is_that_without_them():
    """(1 + t)/(10 + t) and its rest are rounded once more as arrays."""
    parameters, others = parameters_with_gradients(), parameters_with_gradients()
    skipping, plain = (ExponentialMovingAverage(each, 0.5) for each in (parameters, others))
    for step, proceeded in enumerate([True, False, True, True, False, True]):
        for each in (parameters, others) if proceeded else ():
            for parameter in each.values():
                parameter.data = np.asarray(parameter.data * (1.0 + step))
        skipping.update(np.asarray(proceeded))
        if proceeded:
            plain.update()
    assert int(skipping.updates) == plain.updates == 4
    for name, array in plain.average.items():
        np.testing.assert_allclose(skipping.average[name], array, rtol=16 * 2.3e-16)


@pytest.mark.parametrize("options", [dict(initial=0.0), dict(initial=3.0), dict(initial=2.0**30), dict(smallest=0.0),
                                     dict(interval=0), dict(most_skipped=0), dict(interval=1.5), dict(initial="1"),
                                     dict(largest=float("inf")), dict(initial=float("nan"))], ids=str)
def test_invalid_options_are_refused(options):
    with pytest.raises(InputError):
        LossScale(NUMPY, **options)


def test_a_saved_state_is_restored_with_and_without_the_count():
    scale, again = LossScale(NUMPY, initial=8.0), LossScale(NUMPY)
    scale.update(FALSE)
    again.restore(scale.state)
    assert {name: float(array) for name, array in again.state.items()} == {
        "scale": 4.0, "good_steps": 0, "skipped_steps": 1}
    LossScale(NUMPY).restore({"scale": scale.state["scale"], "good_steps": scale.state["good_steps"]})
    for state in ({}, {"scale": scale.state["scale"]}, {**scale.state, "more": scale.scale},
                  {**scale.state, "scale": np.zeros(2, np.float32)}):
        with pytest.raises(InputError):
            LossScale(NUMPY).restore(state)
