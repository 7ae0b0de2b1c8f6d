"""The layers of networks: which parameters they own, and which operation they call.

Used by: models/, verify/. The formulas: functional/, joined to the tape in ops.py.
Tests: reference_tests/nn/test_layers.py, reference_tests/models/test_models_against_torch.py.
"""

import math
from typing import Any

import numpy

from .. import ops
from ..autograd import Tensor
from ..backend import CounterRNG, backend_of, drawn_array, is_floating
from ..backend.arrays import Array
from ..errors import InputError
from ..functional.activations import GAMMA, is_known_by_output
from ..functional.checks import LARGEST, real_number, whole_number
from ..functional.squeeze_excite import check_hidden_activation
from ..functional.windows import pair
from .initialization import Initializer
from .mode import EVALUATION, Mode
from .module import Module


def cast_like(parameter: Tensor, x: Tensor) -> Tensor:
    """The parameter in the dtype of x: master weights in float32 enter half-precision arithmetic rounded.

    For an x of another kind, such as a list, it stays as it is: the operation that takes both refuses what it cannot
    use.
    """
    dtype = getattr(x, "dtype", parameter.dtype)
    if parameter.dtype == dtype or not is_floating(dtype):
        return parameter
    return ops.cast(parameter, dtype=dtype)


class Conv2D(Module):
    """Convolution: (N, H, W, in) -> (N, H', W', out). Weight HWIO ~ N(0, 1/fan_in), bias 0.

    bias: whether there is one; before a normalization it would be without effect. initial: "fan_in" as above,
    "fan_out": N(0, 2/(kh·kw·out/groups)) (He et al., 2015, arXiv 1502.01852, section 2.2), as ResNets have it, or a
    number, the standard deviation itself.
    """

    bias: Tensor | None

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], *,
                 stride: int | tuple[int, int] = 1, padding: Any = "SAME", dilation: int | tuple[int, int] = 1,
                 groups: int = 1, bias: bool = True, initial: str | float = "fan_in") -> None:
        for name, number in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
            whole_number(number, f"{init.path}: {name}")
        if in_channels < 1 or out_channels < 1:
            raise InputError(f"{init.path}: {in_channels} -> {out_channels} channels: expected at least one of each")
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise InputError(f"{init.path}: {in_channels} -> {out_channels} channels do not divide by groups={groups}")
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        shape = (*pair(kernel_size, "kernel_size"), in_channels // groups, out_channels)
        self.weight = _initial_kernel(init, shape, groups, initial)
        self.bias = init.constant((out_channels,), 0.0) if bias else None

    def kernel(self) -> Tensor:
        """The weight that convolves."""
        return self.weight

    def __call__(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else cast_like(self.bias, x)
        return ops.conv2d(x, cast_like(self.kernel(), x), bias, stride=self.stride, padding=self.padding,
                          dilation=self.dilation, groups=self.groups)


def _initial_kernel(init: Initializer, shape: tuple[int, int, int, int], groups: int, initial: str | float) -> Tensor:
    """The first weight of a Conv2D."""
    if initial == "fan_in":
        return init.fan_in_normal("weight", shape)
    if initial == "fan_out":
        return init.fan_out_normal("weight", shape, groups)
    if isinstance(initial, str):
        raise InputError(f"{init.path}: initial {initial!r}: expected fan_in, fan_out or a standard deviation")
    deviation = real_number(initial, f"{init.path}: initial")
    return init.normal("weight", shape, deviation) if deviation else init.constant(shape, 0.0)


class WSConv2D(Conv2D):
    """Convolution with scaled weight standardization: a standardized kernel times a gain that starts at 1."""

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], *,
                 eps: float = 1e-4, **geometry: Any) -> None:
        super().__init__(init, in_channels, out_channels, kernel_size, **geometry)
        self.gain = init.constant((out_channels,), 1.0)
        self.eps = eps

    def kernel(self) -> Tensor:
        """The standardized weight."""
        return ops.standardize_weight(self.weight, self.gain, eps=self.eps)


class Linear(Module):
    """x·weight + bias: (N, in) -> (N, out). Weight (in, out) ~ N(0, standard_deviation²), 1/√in if None; bias 0.

    uniform_bound: given, the weight is drawn evenly from ± this instead.
    (The authors' framework truncates this normal at two standard deviations by default; here it is not truncated.)
    """

    def __init__(self, init: Initializer, in_features: int, out_features: int, *,
                 standard_deviation: float | None = None, uniform_bound: float | None = None) -> None:
        shape = (whole_number(in_features, f"{init.path}: in_features", least=1),
                 whole_number(out_features, f"{init.path}: out_features", least=1))
        if uniform_bound is not None:
            self.weight = init.uniform("weight", shape, real_number(uniform_bound, f"{init.path}: uniform_bound"))
        elif standard_deviation is None:
            self.weight = init.fan_in_normal("weight", shape)
        else:
            deviation = real_number(standard_deviation, f"{init.path}: standard_deviation")
            self.weight = init.normal("weight", shape, deviation)
        self.bias = init.constant((out_features,), 0.0)

    def __call__(self, x: Tensor) -> Tensor:
        return ops.linear(x, cast_like(self.weight, x), cast_like(self.bias, x))


class Nonlinearity(Module):
    """gamma·g(x) for the nonlinearity called `name`, so that N(0, 1) in gives variance 1 out (2101.08692, 4.1).

    scaled: False for g(x) itself, as networks with normalizations have it.
    """

    def __init__(self, name: str, scaled: bool = True) -> None:
        if not isinstance(name, str) or name not in GAMMA:
            raise InputError(f"nonlinearity {name!r}: expected one of {', '.join(GAMMA)}")
        self.name = name
        self.gamma = GAMMA[name] if scaled else 1.0

    def __call__(self, x: Tensor, scale: float = 1.0) -> Tensor:
        scale = self.gamma * scale
        if is_known_by_output(self.name, scale):
            return ops.scaled_nonlinearity_known_by_output(x, name=self.name, scale=scale)
        return ops.scaled_nonlinearity(x, name=self.name, scale=scale)

    def of_sum(self, x: Tensor, y: Tensor) -> Tensor:
        """The nonlinearity of x + y, two arrays of the same shape; relu's is one operation."""
        if self.name == "relu" and self.gamma == 1.0:
            return ops.rectified_sum(x, y)
        return self(x + y)


class SqueezeExcite(Module):
    """x · scale·sigmoid(fc1(g(fc0(mean over the image)))).

    hidden: the number of hidden units; by default max(1, int(channels·ratio)). activation: the name of g; scale: 2 as
    normalizer-free networks have it, 1 as published (1709.01507). initial: "fan_in", or "fan_out" for weights
    N(0, 2/out), as EfficientNets have them.
    """

    def __init__(self, init: Initializer, channels: int, ratio: float | None = None, *, hidden: int | None = None,
                 activation: str = "relu", scale: float = 2.0, initial: str = "fan_in") -> None:
        whole_number(channels, f"{init.path}: channels", least=1)
        if hidden is None:
            hidden = int(min(max(1, channels * real_number(ratio, f"{init.path}: ratio")), LARGEST))
        whole_number(hidden, f"{init.path}: hidden", least=1)
        check_hidden_activation(activation, init.path)
        self.activation = activation
        self.scale = real_number(scale, f"{init.path}: scale")
        deviations = _deviations(init, initial, hidden, channels)
        self.fc0 = Linear(init.scope("fc0"), channels, hidden, standard_deviation=deviations[0])
        self.fc1 = Linear(init.scope("fc1"), hidden, channels, standard_deviation=deviations[1])

    def __call__(self, x: Tensor) -> Tensor:
        parameters = (self.fc0.weight, self.fc0.bias, self.fc1.weight, self.fc1.bias)
        return ops.squeeze_excite(x, *(cast_like(parameter, x) for parameter in parameters),
                                  activation=self.activation, scale=self.scale)


def _deviations(init: Initializer, initial: str, *outputs: int) -> list[float | None]:
    """The standard deviation of each Linear with so many outputs, None for its default."""
    if initial not in ("fan_in", "fan_out"):
        raise InputError(f"{init.path}: initial {initial!r}: expected fan_in or fan_out")
    return [None if initial == "fan_in" else math.sqrt(2.0 / count) for count in outputs]


def _mask(x: Tensor, shape: tuple[int, ...], rate: float, site: str, randomness: CounterRNG) -> Array:
    """1 where a uniform draw is at least `rate`, else 0, in x's dtype and on x's backend."""
    dtype = x.dtype

    def draw(randomness: CounterRNG) -> numpy.ndarray:
        return (randomness.uniform(site, shape) >= rate).astype(dtype)

    return drawn_array(draw, randomness, backend_of(x.data))


class Dropout(Module):
    """In training, values zeroed with probability `rate` and the others divided by 1 - rate; else the identity."""

    def __init__(self, init: Initializer, rate: float) -> None:
        self.rate = rate
        self.site = init.path

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        if not mode.training or self.rate == 0.0:
            return x
        mask = _mask(x, x.shape, self.rate, self.site, mode.require_randomness(self.site))
        return ops.dropout(x, mask, rate=self.rate)


class StochasticDepth(Module):
    """In training, whole examples of a residual branch zeroed with probability `rate`; else the identity.

    rescale: whether the other examples are divided by 1 - rate; the authors leave them as they are.
    """

    def __init__(self, init: Initializer, rate: float, rescale: bool = False) -> None:
        self.rate = rate
        self.rescale = rescale
        self.site = init.path

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        if not mode.training or self.rate == 0.0:
            return x
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        mask = _mask(x, shape, self.rate, self.site, mode.require_randomness(self.site))
        return ops.stochastic_depth(x, mask, rate=self.rate, rescale=self.rescale)
