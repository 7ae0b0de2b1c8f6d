"""Modules of Flax for checks, right ones and mistaken ones: linen's here, with nnx's below."""

import jax
from flax import linen, nnx
from jax import numpy as jnp

from .jax_formulas import CONFIG, NORMALIZED, activation, blocks, convolve, hidden, standardize, width

ONES, ZEROS, NORMAL = linen.initializers.ones, linen.initializers.zeros, linen.initializers.lecun_normal()


class WSConv(linen.Conv):
    """A subclass of linen's convolution, with its fields."""

    ddof = 0

    @linen.compact
    def __call__(self, x):
        shape = (*self.kernel_size, x.shape[-1] // self.feature_group_count, self.features)
        kernel, gain = self.param("kernel", NORMAL, shape), self.param("gain", ONES, shape[-1:])
        stride = self.strides if isinstance(self.strides, int) else self.strides[0]
        out = convolve(x, standardize(kernel, gain, ddof=self.ddof), stride, self.feature_group_count)
        return out + self.param("bias", ZEROS, shape[-1:])


class Bessel(WSConv):
    ddof = 1


class SqueezeExcite(linen.Module):
    """The number of channels is that of x."""

    ratio: float = 0.5
    factor: float = 2.0

    @linen.compact
    def __call__(self, x):
        out = linen.relu(linen.Conv(hidden(x.shape[-1], self.ratio), (1, 1))(x.mean((1, 2), keepdims=True)))
        return self.factor * linen.sigmoid(linen.Conv(x.shape[-1], (1, 1))(out)) * x


class NotDoubled(SqueezeExcite):
    factor: float = 1.0


def squeeze_excite(x, ratio=0.5):
    """A function that calls modules."""
    out = linen.relu(linen.Dense(hidden(x.shape[-1], ratio))(x.mean((1, 2))))
    return 2.0 * linen.sigmoid(linen.Dense(x.shape[-1])(out))[:, None, None] * x


class BatchNorm(linen.Module):
    """With a collection of its own and the flag as a field."""

    use_running_average: bool
    decay: float = 0.99

    @linen.compact
    def __call__(self, x):
        shape = x.shape[-1:]
        scale, bias = self.param("scale", ONES, shape), self.param("bias", ZEROS, shape)
        averages = [self.variable("moments", name, start, None, shape) for name, start in (("mean", ZEROS),
                                                                                         ("var", ONES))]
        if self.use_running_average:
            mean, variance = (average.value for average in averages)
        else:
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
            for average, new in zip(averages, (mean, variance), strict=True) if not self.is_initializing() else ():
                average.value = self.decay * average.value + (1.0 - self.decay) * new
        return scale * (x - mean) * jax.lax.rsqrt(variance + 1e-3) + bias


class MomentumTheOtherWayRound(BatchNorm):
    decay: float = 0.01


class DropPath(linen.Module):
    rate: float
    axes = (1, 2, 3)

    @linen.compact
    def __call__(self, x, deterministic):
        if deterministic:
            return x
        shape = [1 if axis in self.axes else size for axis, size in enumerate(x.shape)]
        return x * jax.random.bernoulli(self.make_rng("drop_path"), 1.0 - self.rate, shape)


class DropsChannels(DropPath):
    axes = (1, 2)


class Block(linen.Module):
    features: int
    stride: int = 1
    beta: float = 1.0
    alpha: float = CONFIG.alpha

    @linen.compact
    def __call__(self, x):
        def conv(features, size=1, stride=1, name=None):
            return WSConv(features, (size, size), stride, name=name)

        out = activation(x) * self.beta
        is_new = self.stride > 1 or x.shape[-1] != self.features
        shortcut = conv(self.features, 1, self.stride, name="shortcut")(out) if is_new else x
        out = conv(width(self.features), 3, self.stride)(activation(conv(width(self.features))(out)))
        out = SqueezeExcite(CONFIG.se_ratio)(conv(self.features)(activation(out)))
        return shortcut + self.alpha * self.param("skip_gain", ZEROS, ()) * out


class Network(linen.Module):
    @linen.compact
    def __call__(self, x, train: bool = False):
        x = WSConv(CONFIG.widths[0] // 4, (CONFIG.stem_kernel,) * 2, CONFIG.stem_stride)(x)
        for _, features, beta in blocks():
            x = Block(features, beta=beta)(x)
        return linen.Dense(CONFIG.num_classes)(activation(x).mean((1, 2)))


network = Network()


class Normalized(linen.Module):
    """A ResNet of NORMALIZED with batch normalization, whose flag is given to its constructor."""

    momentum: float = 0.9

    @linen.compact
    def __call__(self, x, train: bool):
        def conv_norm(x, channels, kernel=3):
            x = linen.Conv(channels, (kernel, kernel), use_bias=False)(x)
            return linen.BatchNorm(use_running_average=not train, momentum=self.momentum)(x)

        x = linen.relu(conv_norm(x, NORMALIZED.stem_width))
        out = conv_norm(linen.relu(conv_norm(x, 8)), 8)
        x = linen.relu(out + conv_norm(x, 8, kernel=1))
        return linen.Dense(NORMALIZED.num_classes)(x.mean((1, 2)))


# ---- nnx


class NnxWSConv(nnx.Conv):
    def __init__(self, in_features, out_features, kernel_size, strides=1, feature_group_count=1, *, rngs):
        super().__init__(in_features, out_features, kernel_size, strides, feature_group_count=feature_group_count,
                         rngs=rngs)
        self.gain = nnx.Param(jnp.ones((out_features,)))

    def __call__(self, x):
        stride = self.strides if isinstance(self.strides, int) else self.strides[0]
        weight = standardize(self.kernel[...], self.gain[...])
        return convolve(x, weight, stride, self.feature_group_count) + self.bias[...]


class GainWithoutVariable(NnxWSConv):
    """Its gain is an array, and no parameter."""

    def __init__(self, in_features, out_features, kernel_size, strides=1, *, rngs):
        super().__init__(in_features, out_features, kernel_size, strides, rngs=rngs)
        del self.gain
        self.scale = jnp.ones((out_features,))

    def __call__(self, x):
        return convolve(x, standardize(self.kernel[...], self.scale), self.strides) + self.bias[...]


class NnxSqueezeExcite(nnx.Module):
    def __init__(self, in_ch, out_ch, ratio=0.5, *, rngs):
        self.fc0 = nnx.Linear(in_ch, hidden(in_ch, ratio), rngs=rngs)
        self.fc1 = nnx.Linear(hidden(in_ch, ratio), out_ch, rngs=rngs)

    def __call__(self, x):
        return 2.0 * nnx.sigmoid(self.fc1(nnx.relu(self.fc0(x.mean((1, 2))))))[:, None, None] * x


class NnxDropPath(nnx.Module):
    def __init__(self, rate, *, rngs, deterministic=False):
        self.rate, self.rngs, self.deterministic = rate, rngs, deterministic

    def __call__(self, x):
        if self.deterministic:
            return x
        return x * jax.random.bernoulli(self.rngs.dropout(), 1.0 - self.rate, (len(x), 1, 1, 1))


class NnxBlock(nnx.Module):
    squares_alpha = False

    def __init__(self, in_ch, out_ch, stride=1, beta=1.0, alpha=CONFIG.alpha, *, rngs):
        def conv(entering, leaving, size=1, stride=1):
            return NnxWSConv(entering, leaving, (size, size), stride, rngs=rngs)

        self.beta, self.alpha = beta, alpha
        self.shortcut = conv(in_ch, out_ch, stride=stride) if stride > 1 or in_ch != out_ch else None
        self.conv0, self.conv1 = conv(in_ch, width(out_ch)), conv(width(out_ch), width(out_ch), 3, stride)
        self.conv2, self.se = conv(width(out_ch), out_ch), NnxSqueezeExcite(out_ch, out_ch, CONFIG.se_ratio, rngs=rngs)
        self.skip_gain = nnx.Param(jnp.zeros(()))

    def __call__(self, x):
        out = activation(x) * self.beta
        shortcut = x if self.shortcut is None else self.shortcut(out)
        out = self.se(self.conv2(activation(self.conv1(activation(self.conv0(out))))))
        alpha = self.alpha**2 if self.squares_alpha else self.alpha
        return shortcut + alpha * self.skip_gain[...] * out


class NnxSquaresAlpha(NnxBlock):
    squares_alpha = True


class NnxNormalized(nnx.Module):
    """A ResNet of NORMALIZED with batch normalization."""

    def __init__(self, *, rngs):
        widths = NORMALIZED.stem_width, 8
        shapes = ((3, widths[0], 3), (*widths, 3), (8, 8, 3), (*widths, 1))
        self.convs = nnx.List([nnx.Conv(entering, leaving, (size, size), use_bias=False, rngs=rngs)
                               for entering, leaving, size in shapes])
        self.norms = nnx.List([nnx.BatchNorm(leaving, momentum=0.9, rngs=rngs) for _, leaving, _ in shapes])
        self.head = nnx.Linear(8, NORMALIZED.num_classes, rngs=rngs)

    def __call__(self, x):
        stem, first, second, shortcut = (lambda x, conv=conv, norm=norm: norm(conv(x))
                                         for conv, norm in zip(self.convs, self.norms, strict=True))
        x = nnx.relu(stem(x))
        x = nnx.relu(second(nnx.relu(first(x))) + shortcut(x))
        return self.head(x.mean((1, 2)))
