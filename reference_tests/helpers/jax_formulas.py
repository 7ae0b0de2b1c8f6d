"""What the modules of Haiku, Flax and Equinox in the tests share: arithmetic, and two small networks."""

import math

import jax
from jax import lax, numpy as jnp

import nfnumpy as nf

CONFIG = nf.models.NFResNetConfig(widths=(16,), depths=(1,), strides=(1,), stem_pool=False, use_se=True, num_classes=5)
NORMALIZED = nf.models.ResNetConfig(block="basic", widths=(8,), depths=(1,), strides=(1,), stem_width=6, stem_kernel=3,
                                    stem_stride=1, stem_pool=False, num_classes=5)
RELU_GAIN = 1.7139588594436646


def activation(x):
    return jax.nn.relu(x) * RELU_GAIN


def standardize(weight, gain, axes=(0, 1, 2), ddof=0):
    """axes: the fan-in of each output; the gain has a shape that broadcasts; ddof: 1 is a mistake."""
    count = math.prod(weight.shape[axis] for axis in axes)
    mean, variance = weight.mean(axes, keepdims=True), weight.var(axes, keepdims=True, ddof=ddof)
    return gain * (weight - mean) * lax.rsqrt(jnp.maximum(variance * count, 1e-4))


def convolve(x, weight, stride=1, groups=1):
    """Images (N, H, W, C), weights (kh, kw, in, out)."""
    return lax.conv_general_dilated(x, weight, (stride, stride), "SAME", feature_group_count=groups,
                                    dimension_numbers=("NHWC", "HWIO", "NHWC"))


def convolve_one(x, weight, stride=1, groups=1):
    """An image (C, H, W), weights (out, in, kh, kw)."""
    return lax.conv_general_dilated(x[None], weight, (stride, stride), "SAME", feature_group_count=groups)[0]


def blocks():
    """(input channels, output channels, beta) of the blocks of CONFIG."""
    channels, variance = CONFIG.widths[0] // 4, 1.0
    for position in range(CONFIG.depths[0]):
        yield channels, CONFIG.widths[0], variance ** -0.5
        channels, variance = CONFIG.widths[0], (variance if position else 1.0) + CONFIG.alpha**2


def hidden(channels, ratio=CONFIG.se_ratio):
    return max(1, int(channels * ratio))


def width(channels):
    return int(channels * CONFIG.bottleneck_ratio)
