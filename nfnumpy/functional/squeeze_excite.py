"""Squeeze-and-excite: every channel of an image is scaled by a gate computed from all channels' means.

Source: Hu et al. (2018), arXiv 1709.01507, eq. 2-4; the factor 2, which keeps the variance at initialization, is that
of Brock, De, Smith (2021a), section 4.2, and the authors' released code.

Used by: ops.py, nn/. Fast paths: fast_numpy/squeeze_excite.py, fast_cupy/squeeze_excite.py. Kernel: squeeze_excite.cu,
image_means.cu. Test: reference_tests/functional/test_operations_against_torch.py, fast_numpy/test_per_image.py.
"""

from ..backend import formula, namespace
from ..backend.arrays import Array
from ..errors import InputError
from .activations import relu, relu_vjp, sigmoid
from .linear import bias_vjp, check_bias, linear, linear_weight_vjp, linear_x_vjp
from .reductions import mean, mean_vjp


def _gate(x: Array, weight0: Array, bias0: Array, weight1: Array, bias1: Array) -> tuple[Array, Array, Array]:
    """The pooled means, the hidden layer before its relu, and the gates before their sigmoid."""
    pooled = mean(x, axis=(1, 2))
    hidden = linear(pooled, weight0, bias0)
    return pooled, hidden, linear(relu(hidden), weight1, bias1)


def _over_image(values: Array) -> Array:
    """(N, C) as (N, 1, 1, C)."""
    return values[:, None, None, :]


def _check_squeeze_excite(x: Array, weight0: Array, bias0: Array, weight1: Array, bias1: Array) -> None:
    if x.ndim != 4 or weight0.ndim != 2 or tuple(weight1.shape) != tuple(reversed(weight0.shape)):
        raise InputError(f"squeeze_excite: expected x (N, H, W, C), weights (C, hidden) and (hidden, C), got "
                         f"{tuple(x.shape)}, {tuple(weight0.shape)} and {tuple(weight1.shape)}")
    if x.shape[3] != weight0.shape[0]:
        raise InputError(f"squeeze_excite: x {tuple(x.shape)} and weights for {weight0.shape[0]} channels do not fit")
    check_bias(bias0, weight0.shape[1], "squeeze_excite")
    check_bias(bias1, weight1.shape[1], "squeeze_excite")


@formula(check=_check_squeeze_excite)
def squeeze_excite(x: Array, weight0: Array, bias0: Array, weight1: Array, bias1: Array) -> Array:
    """x · 2·sigmoid(fc1(relu(fc0(mean_HW(x))))): x (N, H, W, C), weights (C, hidden), (hidden, C), biases."""
    _, _, gate = _gate(x, weight0, bias0, weight1, bias1)
    return x * _over_image(2.0 * sigmoid(gate))


@formula
def squeeze_excite_vjp(cotangent: Array, x: Array, weight0: Array, bias0: Array, weight1: Array,
                       bias1: Array) -> tuple[Array, Array, Array, Array, Array]:
    """The cotangents of x, weight0, bias0, weight1, bias1, in that order; the gates are computed again."""
    pooled, hidden, gate = _gate(x, weight0, bias0, weight1, bias1)
    back = namespace(x).sum(cotangent * x, axis=(1, 2)) * (2.0 * sigmoid(gate) * sigmoid(-gate))
    back_hidden = relu_vjp(linear_x_vjp(back, weight1), hidden)
    back_x = cotangent * _over_image(2.0 * sigmoid(gate)) \
        + mean_vjp(linear_x_vjp(back_hidden, weight0), x.shape, axis=(1, 2))
    return (back_x, linear_weight_vjp(back_hidden, pooled), bias_vjp(back_hidden),
            linear_weight_vjp(back, relu(hidden)), bias_vjp(back))
