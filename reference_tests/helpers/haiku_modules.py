"""Modules of Haiku for checks, right ones and mistaken ones."""

import haiku as hk
import jax
from jax import numpy as jnp

from .jax_formulas import CONFIG, NORMALIZED, activation, blocks, convolve, hidden, standardize, width


class WSConv2D(hk.Module):
    def __init__(self, output_channels, kernel_shape, stride=1, feature_group_count=1, name=None):
        super().__init__(name=name)
        self.output_channels, self.kernel_shape = output_channels, kernel_shape
        self.stride, self.groups = stride, feature_group_count

    def standardized(self, weight, gain):
        return standardize(weight, gain)

    def __call__(self, x):
        out, size = self.output_channels, self.kernel_shape
        shape = (size, size, x.shape[-1] // self.groups, out)
        weight = hk.get_parameter("w", shape, init=hk.initializers.RandomNormal())
        gain = hk.get_parameter("gain", (out,), init=jnp.ones)
        bias = hk.get_parameter("b", (out,), init=jnp.zeros)
        return convolve(x, self.standardized(weight, gain), self.stride, self.groups) + bias


class Bessel(WSConv2D):
    def standardized(self, weight, gain):
        return standardize(weight, gain, ddof=1)


def ws_conv(x, output_channels, kernel_shape, stride=1):
    """A function that has to be transformed."""
    return WSConv2D(output_channels, kernel_shape, stride)(x)


class SqueezeExcite(hk.Module):
    def __init__(self, in_ch, out_ch, ratio=0.5, name=None):
        super().__init__(name=name)
        self.fc0, self.fc1 = hk.Linear(hidden(in_ch, ratio)), hk.Linear(out_ch)

    def __call__(self, x):
        return 2.0 * jax.nn.sigmoid(self.fc1(jax.nn.relu(self.fc0(x.mean((1, 2))))))[:, None, None] * x


class NotDoubled(SqueezeExcite):
    def __call__(self, x):
        return super().__call__(x) / 2.0


class BatchNorm(hk.Module):
    """By hand, with a state of its own."""

    decay = 0.99

    def __call__(self, x, is_training):
        shape = (x.shape[-1],)
        gamma, beta = hk.get_parameter("scale", shape, init=jnp.ones), hk.get_parameter("offset", shape, init=jnp.zeros)
        mean, variance = hk.get_state("mean", shape, init=jnp.zeros), hk.get_state("var", shape, init=jnp.ones)
        if is_training:
            averages, (mean, variance) = (mean, variance), (x.mean((0, 1, 2)), x.var((0, 1, 2)))
            for name, average, new in zip(("mean", "var"), averages, (mean, variance), strict=True):
                hk.set_state(name, self.decay * average + (1.0 - self.decay) * new)
        return gamma * (x - mean) * jax.lax.rsqrt(variance + 1e-3) + beta


class MomentumTheOtherWayRound(BatchNorm):
    decay = 0.01


class StochDepth(hk.Module):
    """Random numbers are those of the transformation."""

    evaluation = False

    def __init__(self, drop_rate, name=None):
        super().__init__(name=name)
        self.drop_rate = drop_rate

    def __call__(self, x, is_training):
        if not is_training and not self.evaluation:
            return x
        return x * jax.random.bernoulli(hk.next_rng_key(), 1.0 - self.drop_rate, (len(x), 1, 1, 1))


class DropsInEvaluation(StochDepth):
    evaluation = True


def dropped(x, drop_rate, is_training):
    """A function that takes its key from the transformation."""
    return StochDepth(drop_rate)(x, is_training)


class Relu(hk.Module):
    def __call__(self, x):
        return activation(x)


class Block(hk.Module):
    squares_alpha = False

    def __init__(self, in_ch, out_ch, stride=1, beta=1.0, alpha=CONFIG.alpha, name=None):
        super().__init__(name=name)
        self.beta, self.alpha = beta, alpha
        is_new = stride > 1 or in_ch != out_ch
        self.conv_shortcut = WSConv2D(out_ch, 1, stride, name="conv_shortcut") if is_new else None
        self.convs = [WSConv2D(width(out_ch), 1), WSConv2D(width(out_ch), 3, stride), WSConv2D(out_ch, 1)]
        self.squeeze_excite = SqueezeExcite(out_ch, out_ch, CONFIG.se_ratio)

    def __call__(self, x):
        out = activation(x) * self.beta
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(out)
        out = self.convs[0](out)
        for conv in self.convs[1:]:
            out = conv(activation(out))
        alpha = self.alpha**2 if self.squares_alpha else self.alpha
        return shortcut + alpha * hk.get_parameter("skip_gain", (), init=jnp.zeros) * self.squeeze_excite(out)


class SquaresAlpha(Block):
    squares_alpha = True


class Network(hk.Module):
    def __call__(self, x, is_training=False):
        x = WSConv2D(CONFIG.widths[0] // 4, CONFIG.stem_kernel, CONFIG.stem_stride)(x)
        for in_ch, out_ch, beta in blocks():
            x = Block(in_ch, out_ch, 1, beta)(x)
        return {"logits": hk.Linear(CONFIG.num_classes)(activation(x).mean((1, 2)))}


def forward(images, is_training):
    return Network()(images, is_training)


pair = hk.transform(forward)
pair_with_state = hk.transform_with_state(forward)


def normalized(images, is_training, decay_rate=0.9):
    """A ResNet of NORMALIZED with batch normalization."""
    def conv_norm(x, channels, kernel=3):
        x = hk.Conv2D(channels, kernel, with_bias=False)(x)
        return hk.BatchNorm(True, True, decay_rate)(x, is_training)

    x = jax.nn.relu(conv_norm(images, NORMALIZED.stem_width))
    out = conv_norm(jax.nn.relu(conv_norm(x, 8)), 8)
    x = jax.nn.relu(out + conv_norm(x, 8, kernel=1))
    return hk.Linear(NORMALIZED.num_classes)(x.mean((1, 2)))
