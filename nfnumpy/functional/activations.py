"""The nonlinearities g(x), their derivatives, and the gain gamma that makes gamma·g(z) of variance 1 for z ~ N(0, 1).

All take and return one floating array of any shape; `glu` halves the last axis and `log_softmax` works along it, the
others go element by element.
Source of gamma: Brock, De, Smith (2021a), arXiv 2101.08692, section 4.1; the constants are those of the authors'
released code, some of them Monte-Carlo figures.

Used by: ops.py, nn/, squeeze_excite.py, losses.py. Fast paths: fast_numpy/activations.py, fast_cupy/activations.py.
Kernel: activations.cu. Test: reference_tests/functional/test_operations_against_torch.py, test_gamma.py.
"""

import math
from collections.abc import Callable

from ..backend import formula, namespace
from ..backend.arrays import Array
from ..errors import InputError
from .arithmetic import masked
from .checks import real_number, shown
from .erf import erfc

GAMMA = {
    "identity": 1.0,
    "relu": 1.7139588594436646,
    "gelu": 1.7015043497085571,
    "gelu_erf": 1.7015043497085571,
    "silu": 1.7881293296813965,
    "elu": 1.2716004848480225,
    "celu": 1.270926833152771,
    "selu": 1.0008515119552612,
    "leaky_relu": 1.70590341091156,
    "log_sigmoid": 1.9193484783172607,
    "log_softmax": 1.0002083778381348,
    "relu6": 1.7131484746932983,
    "sigmoid": 4.803835391998291,
    "softsign": 2.338853120803833,
    "softplus": 1.9203323125839233,
    "tanh": 1.5939117670059204,
    "glu": 1.8484294414520264,
}

TANH_GELU_SLOPE = math.sqrt(2.0 / math.pi)
TANH_GELU_CUBIC = 0.044715
GELU_IS_STRAIGHT_FROM = 10.0  # there tanh has long been ±1 to the last bit, and x³ is far from overflowing
SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717
LEAKY_SLOPE = 0.01


def identity(x: Array) -> Array:
    """x."""
    return x + 0.0


def identity_vjp(cotangent: Array) -> Array:
    return cotangent


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return namespace(x).clip(x, 0.0, None)


def relu_vjp(cotangent: Array, x: Array) -> Array:
    return masked(x > 0.0, cotangent)


def relu6(x: Array) -> Array:
    """min(max(x, 0), 6)."""
    return namespace(x).clip(x, 0.0, 6.0)


def relu6_vjp(cotangent: Array, x: Array) -> Array:
    return masked((x > 0.0) & (x < 6.0), cotangent)


def leaky_relu(x: Array) -> Array:
    """x where positive, 0.01·x elsewhere."""
    return namespace(x).where(x > 0.0, x, LEAKY_SLOPE * x)


def leaky_relu_vjp(cotangent: Array, x: Array) -> Array:
    return namespace(x).where(x > 0.0, cotangent, LEAKY_SLOPE * cotangent)


def tanh(x: Array) -> Array:
    """Hyperbolic tangent."""
    return namespace(x).tanh(x)


def tanh_vjp(cotangent: Array, output: Array) -> Array:
    return cotangent * (1.0 - output * output)


def sigmoid(x: Array) -> Array:
    """1/(1 + exp(-x)), to full relative accuracy in both tails."""
    xp = namespace(x)
    decay = xp.exp(-xp.abs(x))
    return xp.where(x >= 0.0, 1.0 / (1.0 + decay), decay / (1.0 + decay))


def sigmoid_vjp(cotangent: Array, x: Array) -> Array:
    return cotangent * sigmoid(x) * sigmoid(-x)


def gelu(x: Array) -> Array:
    """GELU in the tanh form of the authors' code: x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))).

    Source: Hendrycks, Gimpel (2016), arXiv 1606.08415, section 2.
    """
    near = namespace(x).clip(x, -GELU_IS_STRAIGHT_FROM, GELU_IS_STRAIGHT_FROM)
    cubed = near * near * near
    return 0.5 * x * (1.0 + namespace(x).tanh(TANH_GELU_SLOPE * (near + TANH_GELU_CUBIC * cubed)))


def gelu_vjp(cotangent: Array, x: Array) -> Array:
    near = namespace(x).clip(x, -GELU_IS_STRAIGHT_FROM, GELU_IS_STRAIGHT_FROM)
    square = near * near
    t = namespace(x).tanh(TANH_GELU_SLOPE * (near + TANH_GELU_CUBIC * square * near))
    inner_slope = TANH_GELU_SLOPE * (1.0 + 3.0 * TANH_GELU_CUBIC * square)
    return cotangent * (0.5 * (1.0 + t) + 0.5 * near * (1.0 - t * t) * inner_slope)


def gelu_erf(x: Array) -> Array:
    """GELU in its exact form x·Φ(x), with Φ the standard normal distribution function = erfc(-x/√2)/2.

    Source: Hendrycks, Gimpel (2016), arXiv 1606.08415, section 2.
    """
    return x * (0.5 * erfc(x * -math.sqrt(0.5)))


def gelu_erf_vjp(cotangent: Array, x: Array) -> Array:
    density = namespace(x).exp(-0.5 * x * x) * (1.0 / math.sqrt(2.0 * math.pi))
    return cotangent * (0.5 * erfc(x * -math.sqrt(0.5)) + x * density)


def silu(x: Array) -> Array:
    """x·sigmoid(x), also called swish."""
    return x * sigmoid(x)


def silu_vjp(cotangent: Array, x: Array) -> Array:
    s = sigmoid(x)
    return cotangent * (s + x * s * sigmoid(-x))


def elu(x: Array) -> Array:
    """x where positive, exp(x) - 1 elsewhere."""
    xp = namespace(x)
    return xp.where(x > 0.0, x, xp.expm1(xp.clip(x, None, 0.0)))


def elu_vjp(cotangent: Array, x: Array) -> Array:
    return cotangent * namespace(x).exp(namespace(x).clip(x, None, 0.0))


def celu(x: Array) -> Array:
    """max(x, 0) + min(alpha·(exp(x/alpha) - 1), 0) at alpha = 1, where it is elu; its gamma was drawn apart."""
    return elu(x)


def selu(x: Array) -> Array:
    """scale·x where positive, scale·alpha·(exp(x) - 1) elsewhere. Source: Klambauer et al. (2017), eq. 2."""
    xp = namespace(x)
    return SELU_SCALE * xp.where(x > 0.0, x, SELU_ALPHA * xp.expm1(xp.clip(x, None, 0.0)))


def selu_vjp(cotangent: Array, x: Array) -> Array:
    xp = namespace(x)
    slope = xp.where(x > 0.0, xp.ones_like(x), SELU_ALPHA * xp.exp(xp.clip(x, None, 0.0)))
    return SELU_SCALE * cotangent * slope


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), without overflow."""
    xp = namespace(x)
    return xp.clip(x, 0.0, None) + xp.log1p(xp.exp(-xp.abs(x)))


def softplus_vjp(cotangent: Array, x: Array) -> Array:
    return cotangent * sigmoid(x)


def log_sigmoid(x: Array) -> Array:
    """log(sigmoid(x)) = -softplus(-x)."""
    return -softplus(-x)


def log_sigmoid_vjp(cotangent: Array, x: Array) -> Array:
    return cotangent * sigmoid(-x)


def softsign(x: Array) -> Array:
    """x/(1 + |x|)."""
    return x / (1.0 + namespace(x).abs(x))


def softsign_vjp(cotangent: Array, x: Array) -> Array:
    scale = 1.0 + namespace(x).abs(x)
    return cotangent / (scale * scale)


def _check_last_axis(name: str, x: Array) -> None:
    if not x.ndim:
        raise InputError(f"{name}: expected at least one axis, got a number")


def log_softmax(x: Array) -> Array:
    """x - log Σ exp(x), along the last axis; empty where that is empty."""
    _check_last_axis("log_softmax", x)
    if not x.shape[-1]:
        return x + 0.0
    xp = namespace(x)
    shifted = x - xp.max(x, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def log_softmax_vjp(cotangent: Array, output: Array) -> Array:
    xp = namespace(output)
    return cotangent - xp.exp(output) * xp.sum(cotangent, axis=-1, keepdims=True)


def softmax(x: Array) -> Array:
    """exp(x)/Σ exp(x), along the last axis; empty where that is empty."""
    _check_last_axis("softmax", x)
    return namespace(x).exp(log_softmax(x))


def softmax_vjp(cotangent: Array, output: Array) -> Array:
    return output * (cotangent - namespace(output).sum(cotangent * output, axis=-1, keepdims=True))


def glu(x: Array) -> Array:
    """Gated linear unit a·sigmoid(b) of the halves (a, b) of the last axis. Source: Dauphin et al. (2017), eq. 1."""
    _check_last_axis("glu", x)
    if x.shape[-1] % 2:
        raise InputError(f"glu halves the last axis: expected an even size, got shape {tuple(x.shape)}")
    half = x.shape[-1] // 2
    return x[..., :half] * sigmoid(x[..., half:])


def glu_vjp(cotangent: Array, x: Array) -> Array:
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    gate = sigmoid(b)
    return namespace(x).concat([cotangent * gate, cotangent * a * gate * sigmoid(-b)], axis=-1)


ALONG_THE_LAST_AXIS = frozenset({"glu", "log_softmax"})
NONLINEARITIES = {  # name: (formula(x), derivative(cotangent, x))
    "identity": (identity, lambda cotangent, x: identity_vjp(cotangent)),
    "relu": (relu, relu_vjp),
    "relu6": (relu6, relu6_vjp),
    "leaky_relu": (leaky_relu, leaky_relu_vjp),
    "tanh": (tanh, lambda cotangent, x: tanh_vjp(cotangent, tanh(x))),
    "sigmoid": (sigmoid, sigmoid_vjp),
    "gelu": (gelu, gelu_vjp),
    "gelu_erf": (gelu_erf, gelu_erf_vjp),
    "silu": (silu, silu_vjp),
    "elu": (elu, elu_vjp),
    "celu": (celu, elu_vjp),
    "selu": (selu, selu_vjp),
    "softplus": (softplus, softplus_vjp),
    "log_sigmoid": (log_sigmoid, log_sigmoid_vjp),
    "softsign": (softsign, softsign_vjp),
    "log_softmax": (log_softmax, lambda cotangent, x: log_softmax_vjp(cotangent, log_softmax(x))),
    "glu": (glu, glu_vjp),
}


def _named(name: str) -> tuple[Callable[[Array], Array], Callable[[Array, Array], Array]]:
    if not isinstance(name, str) or name not in NONLINEARITIES:
        raise InputError(f"nonlinearity {shown(name)}: expected one of {', '.join(NONLINEARITIES)}")
    return NONLINEARITIES[name]


def _check_scaled_nonlinearity(x: Array, *, name: str, scale: float) -> None:
    _named(name)
    real_number(scale, "scale")


@formula(check=_check_scaled_nonlinearity)
def scaled_nonlinearity(x: Array, *, name: str, scale: float) -> Array:
    """scale·g(x) for the nonlinearity g called `name`; networks pass scale = gamma, or gamma·beta before a block.

    Source: Brock, De, Smith (2021a), section 4.1 (gamma) and section 3 (beta = 1/expected_std).
    """
    return _named(name)[0](x) * scale


@formula
def scaled_nonlinearity_vjp(cotangent: Array, x: Array, *, name: str, scale: float) -> Array:
    """The derivative of `scaled_nonlinearity`."""
    return _named(name)[1](cotangent * scale, x)


def is_known_by_output(name: str, scale: float) -> bool:
    """Whether the derivative of `scaled_nonlinearity` is the same at its result as at x.

    relu's result is positive where x is, unless a scale below 1 makes the least numbers 0.
    """
    return name == "relu" and scale >= 1.0


def _check_known_by_output(x: Array, *, name: str, scale: float) -> None:
    _check_scaled_nonlinearity(x, name=name, scale=scale)
    if not is_known_by_output(name, scale):
        raise InputError(f"scaled_nonlinearity_known_by_output: expected relu with a scale of 1 or more, got {name} "
                         f"with {scale}; scaled_nonlinearity takes any")


@formula(check=_check_known_by_output)
def scaled_nonlinearity_known_by_output(x: Array, *, name: str, scale: float) -> Array:
    """`scaled_nonlinearity`, where it `is_known_by_output`; InputError elsewhere. Its derivative needs no x."""
    return scaled_nonlinearity(x, name=name, scale=scale)


@formula
def scaled_nonlinearity_known_by_output_vjp(cotangent: Array, output: Array, *, name: str, scale: float) -> Array:
    """The derivative of `scaled_nonlinearity`, taken at its result."""
    return scaled_nonlinearity_vjp(cotangent, output, name=name, scale=scale)


def _check_rectified_sum(x: Array, y: Array) -> None:
    if x.shape != y.shape:
        raise InputError(f"rectified_sum: shortcut {x.shape} and branch {y.shape}: expected the same shapes")


@formula(check=_check_rectified_sum)
def rectified_sum(x: Array, y: Array) -> Array:
    """max(x + y, 0) for arrays of the same shape: how a residual block ends (He et al., 2016, 1512.03385, figure 2)."""
    return scaled_nonlinearity(x + y, name="relu", scale=1.0)


@formula
def rectified_sum_vjp(cotangent: Array, output: Array) -> tuple[Array, Array]:
    """The cotangents of both, which are the same: that of the sum, 0 where the output is not positive."""
    back = scaled_nonlinearity_vjp(cotangent, output, name="relu", scale=1.0)
    return back, back[...]  # a view, of which the backward pass makes a copy where a leaf keeps it
