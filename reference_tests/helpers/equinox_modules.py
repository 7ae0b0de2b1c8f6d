"""Modules of Equinox for checks, right ones and mistaken ones: they see one example (C, H, W)."""

import equinox as eqx
import jax
from jax import numpy as jnp

from .jax_formulas import CONFIG, NORMALIZED, activation, blocks, convolve_one, hidden, standardize, width

UNITS = (1, 2, 3)


class WSConv2d(eqx.nn.Conv2d):
    gain: jax.Array
    ddof = 0

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, groups=1, *, key):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding="SAME", groups=groups, key=key)
        self.gain = jnp.ones((out_channels, 1, 1, 1))

    def __call__(self, x, *, key=None):
        weight = standardize(self.weight, self.gain, UNITS, self.ddof)
        return convolve_one(x, weight, self.stride[0], self.groups) + self.bias


class Bessel(WSConv2d):
    ddof = 1


def weights_standardized(weight, gain):
    """In a file of Equinox, weights are OIHW."""
    return standardize(weight, gain, UNITS)


class SqueezeExcite(eqx.Module):
    fc0: eqx.nn.Linear
    fc1: eqx.nn.Linear
    factor = 2.0

    def __init__(self, channels, ratio=0.5, *, key):
        keys = jax.random.split(key)
        self.fc0 = eqx.nn.Linear(channels, hidden(channels, ratio), key=keys[0])
        self.fc1 = eqx.nn.Linear(hidden(channels, ratio), channels, key=keys[1])

    def __call__(self, x):
        gate = jax.nn.sigmoid(self.fc1(jax.nn.relu(self.fc0(x.mean((1, 2))))))
        return self.factor * gate[:, None, None] * x


class NotDoubled(SqueezeExcite):
    factor = 1.0


class BatchNorm(eqx.Module):
    """Its averages are kept in the state; the moments are those of all examples of the axis."""

    gamma: jax.Array
    beta: jax.Array
    mean: eqx.nn.StateIndex
    variance: eqx.nn.StateIndex
    inference: bool
    decay = 0.99

    def __init__(self, channels):
        self.inference = False
        self.gamma, self.beta = jnp.ones(channels), jnp.zeros(channels)
        self.mean, self.variance = eqx.nn.StateIndex(jnp.zeros(channels)), eqx.nn.StateIndex(jnp.ones(channels))

    def __call__(self, x, state):
        mean, variance = state.get(self.mean), state.get(self.variance)
        if not self.inference:
            averages, mean = (mean, variance), jax.lax.pmean(x.mean((1, 2)), "batch")
            variance = jax.lax.pmean(jnp.square(x - mean[:, None, None]).mean((1, 2)), "batch")
            for index, average, new in zip((self.mean, self.variance), averages, (mean, variance), strict=True):
                state = state.set(index, self.decay * average + (1.0 - self.decay) * new)
        factor = self.gamma * jax.lax.rsqrt(variance + 1e-3)
        return (x - mean[:, None, None]) * factor[:, None, None] + self.beta[:, None, None], state


class MomentumTheOtherWayRound(BatchNorm):
    decay = 0.01


def batch_norm(input_size):
    """A factory that returns (model, state)."""
    return eqx.nn.make_with_state(eqx.nn.BatchNorm)(input_size, axis_name="examples", mode="batch")


class DropPath(eqx.Module):
    drop_rate: float
    inference: bool = False
    evaluation = False

    def __call__(self, x, *, key):
        if self.inference and not self.evaluation:
            return x
        return x * jax.random.bernoulli(key, 1.0 - self.drop_rate)


class DropsInEvaluation(DropPath):
    evaluation = True


def drop_path(x, rate, key, inference):
    """A function of one example."""
    return x if inference else x * jax.random.bernoulli(key, 1.0 - rate)


class Relu(eqx.Module):
    def __call__(self, x, *, key=None):
        return activation(x)


class Block(eqx.Module):
    conv_shortcut: WSConv2d | None
    convs: list
    se: SqueezeExcite
    skip_gain: jax.Array
    beta: float = eqx.field(static=True)
    alpha: float = eqx.field(static=True)
    squares_alpha = False

    def __init__(self, in_ch, out_ch, stride=1, beta=1.0, alpha=CONFIG.alpha, *, key):
        keys = jax.random.split(key, 5)
        is_new = stride > 1 or in_ch != out_ch
        self.conv_shortcut = WSConv2d(in_ch, out_ch, 1, stride, key=keys[0]) if is_new else None
        self.convs = [WSConv2d(in_ch, width(out_ch), 1, key=keys[1]),
                      WSConv2d(width(out_ch), width(out_ch), 3, stride, key=keys[2]),
                      WSConv2d(width(out_ch), out_ch, 1, key=keys[3])]
        self.se, self.skip_gain = SqueezeExcite(out_ch, CONFIG.se_ratio, key=keys[4]), jnp.zeros(())
        self.beta, self.alpha = beta, alpha

    def __call__(self, x):
        out = activation(x) * self.beta
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(out)
        out = self.convs[0](out)
        for conv in self.convs[1:]:
            out = conv(activation(out))
        alpha = self.alpha**2 if self.squares_alpha else self.alpha
        return shortcut + alpha * self.skip_gain * self.se(out)


class SquaresAlpha(Block):
    squares_alpha = True


class Network(eqx.Module):
    stem: WSConv2d
    blocks: list
    head: eqx.nn.Linear

    def __init__(self, key, block):
        first, last, *keys = jax.random.split(key, 2 + CONFIG.depths[0])
        self.stem = WSConv2d(3, CONFIG.widths[0] // 4, CONFIG.stem_kernel, CONFIG.stem_stride, key=first)
        self.blocks = [block(*sizes, beta=beta, key=key) for (*sizes, beta), key in zip(blocks(), keys, strict=True)]
        self.head = eqx.nn.Linear(CONFIG.widths[0], CONFIG.num_classes, key=last)

    def __call__(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(activation(x).mean((1, 2)))


def wrong_network(key):
    """A factory."""
    return Network(key, SquaresAlpha)


class Normalized(eqx.Module):
    """A ResNet of NORMALIZED with batch normalization."""

    convs: list
    norms: list
    head: eqx.nn.Linear

    def __init__(self, key):
        widths = NORMALIZED.stem_width, 8
        shapes = ((3, widths[0], 3), (*widths, 3), (8, 8, 3), (*widths, 1))
        self.convs = [eqx.nn.Conv2d(entering, leaving, size, padding="SAME", use_bias=False, key=key)
                      for entering, leaving, size in shapes]
        self.norms = [eqx.nn.BatchNorm(leaving, "batch", momentum=0.9, mode="batch") for _, leaving, _ in shapes]
        self.head = eqx.nn.Linear(8, NORMALIZED.num_classes, key=key)

    def __call__(self, x, state):
        def conv_norm(number, x, state):
            return self.norms[number](self.convs[number](x), state)

        x, state = conv_norm(0, x, state)
        entering = jax.nn.relu(x)
        out, state = conv_norm(1, entering, state)
        out, state = conv_norm(2, jax.nn.relu(out), state)
        shortcut, state = conv_norm(3, entering, state)
        return self.head(jax.nn.relu(out + shortcut).mean((1, 2))), state
