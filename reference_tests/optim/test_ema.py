"""The moving average of the weights."""

import math

import numpy as np
import pytest

from nfnumpy import InputError, Tensor
from nfnumpy.optim import ExponentialMovingAverage
from reference_tests.helpers.named_parameters import equal, normal, parameters_with_gradients, values

EPS = np.finfo(np.float64).eps


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99999])
def test_the_average_is_the_weighted_sum_of_all_values(decay):
    """Step t weighs 1 - d_t times all later d; numbers below 4 in sums of 30, each rounded a few times."""
    parameters = parameters_with_gradients()
    average = ExponentialMovingAverage(parameters, decay)
    seen = [values(parameters)]
    for step in range(30):
        for k, parameter in enumerate(parameters.values()):
            parameter.data = normal(parameter.shape, 1000 * step + k)
        average.update()
        seen.append(values(parameters))
    decays = [min(decay, (1 + t) / (10 + t)) for t in range(30)]
    weights = [math.prod(decays), *((1 - d) * math.prod(decays[t + 1:]) for t, d in enumerate(decays))]
    assert sum(weights) == pytest.approx(1.0, abs=60 * EPS)
    for name in parameters:
        expected = sum(weight * state[name] for weight, state in zip(weights, seen, strict=True))
        assert isinstance(average.average[name], np.ndarray)
        np.testing.assert_allclose(average.average[name], expected, rtol=0, atol=30 * 4 * 4 * EPS)


def test_averaged_weights_are_in_place_only_in_the_context():
    parameters = parameters_with_gradients()
    average = ExponentialMovingAverage(parameters, 0.9)
    for parameter in parameters.values():
        parameter.data = np.asarray(parameter.data * 2)
    average.update()
    own = values(parameters)
    with pytest.raises(RuntimeError), average.applied():
        assert equal(values(parameters), average.average)
        raise RuntimeError
    assert equal(values(parameters), own) and not equal(own, average.average)


def test_an_average_that_is_left_out_keeps_its_bits():
    """d·w + (1 - d)·w is not w in floating point, and 0.0 is not -0.0."""
    values = np.append(normal(100, 0), -0.0)
    parameters = {"frozen": Tensor(values), "trained": Tensor(values)}
    average = ExponentialMovingAverage(parameters, 0.9, averaged=lambda name: name != "frozen")
    for _ in range(3):
        average.update()
    assert average.average["frozen"].tobytes() == values.tobytes()
    assert not np.array_equal(average.average["trained"], values), "nothing was rounded"


@pytest.mark.parametrize("decay", [-0.1, 1.0, math.nan, "0.9", None])
def test_an_invalid_decay_is_refused(decay):
    with pytest.raises(InputError):
        ExponentialMovingAverage({}, decay)
