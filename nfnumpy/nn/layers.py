"""The layers of normalizer-free networks: parameters, and which operation they enter."""

from .. import ops
from ..backend import backend_of
from ..errors import InputError
from ..functional.activations import GAMMA
from ..functional.checks import pair
from .module import Module


def cast_like(parameter, x):
    """The parameter in the dtype of x: master weights in float32 enter half-precision arithmetic rounded."""
    return parameter if parameter.dtype == x.dtype else ops.cast(parameter, dtype=x.dtype)


class Conv2D(Module):
    """Convolution with a bias: (N, H, W, in) -> (N, H', W', out). Weight HWIO ~ N(0, 1/fan_in), bias 0."""

    def __init__(self, init, in_channels, out_channels, kernel_size, *, stride=1, padding="SAME", dilation=1, groups=1):
        if in_channels < 1 or out_channels < 1:
            raise InputError(f"{init.path}: {in_channels} -> {out_channels} channels: expected at least one of each")
        if in_channels % groups or out_channels % groups:
            raise InputError(f"{init.path}: {in_channels} -> {out_channels} channels do not divide by groups={groups}")
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        shape = (*pair(kernel_size, "kernel_size"), in_channels // groups, out_channels)
        self.weight = init.fan_in_normal("weight", shape)
        self.bias = init.constant((out_channels,), 0.0)

    def kernel(self):
        """The weight that convolves."""
        return self.weight

    def __call__(self, x):
        return ops.conv2d(x, cast_like(self.kernel(), x), cast_like(self.bias, x), stride=self.stride,
                          padding=self.padding, dilation=self.dilation, groups=self.groups)


class WSConv2D(Conv2D):
    """Convolution with scaled weight standardization: a standardized kernel times a gain that starts at 1."""

    def __init__(self, init, in_channels, out_channels, kernel_size, *, eps=1e-4, **geometry):
        super().__init__(init, in_channels, out_channels, kernel_size, **geometry)
        self.gain = init.constant((out_channels,), 1.0)
        self.eps = eps

    def kernel(self):
        """The standardized weight."""
        return ops.standardize_weight(self.weight, self.gain, eps=self.eps)


class Linear(Module):
    """x·weight + bias: (N, in) -> (N, out). Weight (in, out) ~ N(0, standard_deviation²), 1/√in if None; bias 0.

    (The authors' framework truncates this normal at two standard deviations by default; here it is whole.)
    """

    def __init__(self, init, in_features, out_features, *, standard_deviation=None):
        shape = (in_features, out_features)
        self.weight = init.fan_in_normal("weight", shape) if standard_deviation is None else \
            init.normal("weight", shape, standard_deviation)
        self.bias = init.constant((out_features,), 0.0)

    def __call__(self, x):
        return ops.linear(x, cast_like(self.weight, x), cast_like(self.bias, x))


class Nonlinearity(Module):
    """gamma·g(x) for the nonlinearity called `name`, so that N(0, 1) in gives variance 1 out (2101.08692, 4.1)."""

    def __init__(self, name):
        if name not in GAMMA:
            raise InputError(f"nonlinearity {name!r}: expected one of {', '.join(GAMMA)}")
        self.name = name

    def __call__(self, x, scale=1.0):
        return ops.scaled_nonlinearity(x, name=self.name, scale=GAMMA[self.name] * scale)


class SqueezeExcite(Module):
    """x · 2·sigmoid(fc1(relu(fc0(mean over the image)))), hidden width max(1, int(channels·ratio))."""

    def __init__(self, init, channels, ratio):
        hidden = max(1, int(channels * ratio))
        self.fc0 = Linear(init.at("fc0"), channels, hidden)
        self.fc1 = Linear(init.at("fc1"), hidden, channels)

    def __call__(self, x):
        return ops.squeeze_excite(x, *(cast_like(parameter, x) for parameter in (
            self.fc0.weight, self.fc0.bias, self.fc1.weight, self.fc1.bias)))


def _mask(x, shape, rate, site, randomness):
    """1 where a uniform draw reaches `rate`, else 0, in x's dtype and on x's backend."""
    kept = (randomness.uniform(site, shape) >= rate).astype(x.dtype)
    return backend_of(x.data).asarray(kept)


class Dropout(Module):
    """Values zeroed with probability `rate`, the others divided by 1 - rate; identity without `randomness`."""

    def __init__(self, init, rate):
        self.rate, self.site = rate, init.path

    def __call__(self, x, randomness):
        if randomness is None or self.rate == 0.0:
            return x
        return ops.dropout(x, _mask(x, x.shape, self.rate, self.site, randomness), rate=self.rate)


class StochasticDepth(Module):
    """Whole examples of a residual branch zeroed with probability `rate`; the others stay as they are by default."""

    def __init__(self, init, rate, rescale=False):
        self.rate, self.rescale, self.site = rate, rescale, init.path

    def __call__(self, x, randomness):
        if randomness is None or self.rate == 0.0:
            return x
        mask = _mask(x, (x.shape[0],) + (1,) * (x.ndim - 1), self.rate, self.site, randomness)
        return ops.stochastic_depth(x, mask, rate=self.rate, rescale=self.rescale)
