"""Named parameters with gradients, one of each kind that the optimizers tell apart."""

import numpy as np

from nfnumpy import Tensor


def normal(shape, seed):
    """Normal numbers, an array even if the shape is ()."""
    return np.asarray(np.random.default_rng(seed).standard_normal(shape))


def parameters_with_gradients(scale=1.0):
    """A dict name -> Tensor of float64, under the names that decide what happens to each."""
    shapes = {"conv.weight": (3, 3, 4, 6), "conv.gain": (6,), "conv.bias": (6,), "blocks.0.skip_gain": (),
              "squeeze_excite.fc0.weight": (6, 3), "linear.weight": (6, 5), "linear.bias": (5,)}
    parameters = {name: Tensor(normal(shape, k), requires_grad=True) for k, (name, shape) in enumerate(shapes.items())}
    set_gradients(parameters, seed=50, scale=scale)
    return parameters


def set_gradients(parameters, seed, scale=1.0):
    """Normal numbers times `scale` as gradients."""
    for k, parameter in enumerate(parameters.values()):
        parameter.grad = np.asarray(scale * normal(parameter.shape, seed + k))


def values(parameters):
    """Copies of the arrays by name."""
    return {name: parameter.data.copy() for name, parameter in parameters.items()}


def equal(one, other):
    """Whether two dicts hold the same arrays bit for bit."""
    return all(np.array_equal(one[name], other[name]) for name in one)
