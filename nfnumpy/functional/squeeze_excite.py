"""Squeeze-and-excite: every channel of an image is scaled by a gate computed from all channels' means.

Source: Hu et al. (2018), arXiv 1709.01507, eq. 2-4, with relu and scale 1; the factor 2, which keeps the variance at
initialization, is that of Brock, De, Smith (2021a), section 4.2, and the authors' released code; EfficientNets have
silu and scale 1 (Tan, Le, 2019, arXiv 1905.11946).

Used by: ops.py, nn/. Fast paths: fast_numpy/squeeze_excite.py, fast_cupy/squeeze_excite.py. Kernel: squeeze_excite.cu,
image_means.cu. Test: reference_tests/functional/test_operations_against_torch.py, fast_numpy/test_per_image.py.
"""

from ..backend import formula, namespace
from ..backend.arrays import Array
from ..errors import InputError
from .activations import NONLINEARITIES, sigmoid
from .checks import real_number, shown
from .linear import bias_vjp, check_bias, linear, linear_weight_vjp, linear_x_vjp
from .reductions import mean, mean_vjp

HIDDEN_ACTIVATIONS = tuple(name for name in NONLINEARITIES if name != "glu")  # glu halves the hidden units


def _gate(x: Array, weight0: Array, bias0: Array, weight1: Array, bias1: Array,
          activation: str) -> tuple[Array, Array, Array, Array]:
    """The pooled means, the hidden layer before and after its nonlinearity, and the gates before their sigmoid."""
    pooled = mean(x, axis=(1, 2))
    hidden = linear(pooled, weight0, bias0)
    active = NONLINEARITIES[activation][0](hidden)
    return pooled, hidden, active, linear(active, weight1, bias1)


def _over_image(values: Array) -> Array:
    """(N, C) as (N, 1, 1, C)."""
    return values[:, None, None, :]


def check_hidden_activation(activation: str, name: str = "squeeze_excite") -> None:
    """InputError unless `activation` is a nonlinearity that keeps the number of hidden units."""
    if not isinstance(activation, str) or activation not in HIDDEN_ACTIVATIONS:
        raise InputError(f"{name}: activation {shown(activation)}: expected one of {', '.join(HIDDEN_ACTIVATIONS)}")


def _check_squeeze_excite(x: Array, weight0: Array, bias0: Array, weight1: Array, bias1: Array, *,
                          activation: str = "relu", scale: float = 2.0) -> None:
    check_hidden_activation(activation)
    real_number(scale, "squeeze_excite: scale")
    if x.ndim != 4 or weight0.ndim != 2 or tuple(weight1.shape) != tuple(reversed(weight0.shape)):
        raise InputError(f"squeeze_excite: expected x (N, H, W, C), weights (C, hidden) and (hidden, C), got "
                         f"{tuple(x.shape)}, {tuple(weight0.shape)} and {tuple(weight1.shape)}")
    if x.shape[3] != weight0.shape[0]:
        raise InputError(f"squeeze_excite: x {tuple(x.shape)} and weights for {weight0.shape[0]} channels do not fit")
    check_bias(bias0, weight0.shape[1], "squeeze_excite")
    check_bias(bias1, weight1.shape[1], "squeeze_excite")


@formula(check=_check_squeeze_excite)
def squeeze_excite(x: Array, weight0: Array, bias0: Array, weight1: Array, bias1: Array, *, activation: str = "relu",
                   scale: float = 2.0) -> Array:
    """x · scale·sigmoid(fc1(g(fc0(mean_HW(x))))): x (N, H, W, C), weights (C, hidden), (hidden, C), biases.

    activation: the name of g, a nonlinearity without gamma.
    """
    *_, gate = _gate(x, weight0, bias0, weight1, bias1, activation)
    return x * _over_image(scale * sigmoid(gate))


@formula
def squeeze_excite_vjp(cotangent: Array, x: Array, weight0: Array, bias0: Array, weight1: Array, bias1: Array, *,
                       activation: str = "relu", scale: float = 2.0) -> tuple[Array, Array, Array, Array, Array]:
    """The cotangents of x, weight0, bias0, weight1, bias1, in that order; the gates are computed again."""
    pooled, hidden, active, gate = _gate(x, weight0, bias0, weight1, bias1, activation)
    back = namespace(x).sum(cotangent * x, axis=(1, 2)) * (scale * sigmoid(gate) * sigmoid(-gate))
    back_hidden = NONLINEARITIES[activation][1](linear_x_vjp(back, weight1), hidden)
    back_x = cotangent * _over_image(scale * sigmoid(gate)) \
        + mean_vjp(linear_x_vjp(back_hidden, weight0), x.shape, axis=(1, 2))
    return (back_x, linear_weight_vjp(back_hidden, pooled), bias_vjp(back_hidden), linear_weight_vjp(back, active),
            bias_vjp(back))
