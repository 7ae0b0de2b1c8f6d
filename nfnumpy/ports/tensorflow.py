"""NFNet, NF-ResNet and NF-RegNet in TensorFlow's idiom, as Keras layers; `tensorflow_optim` has AGC, SAM and the rest.

Images are (N, H, W, C), weights (kh, kw, in/groups, out) and (in, out), as in the reference and in the authors' code.
Layers and variables have the reference's names: `load_reference_state(network, state)`, `reference_state(network)`.

    network = from_config(nfnumpy.models.config_of("nfnet_f0"))
    logits = network(normalize(images), training=False)

Sources: arXiv 2101.08692, 2102.06171 and the authors' released code. Each comment names the mistake that ports make at
that line. Used by: reference_tests (oracle), verify (positive control). Test: reference_tests/ports/test_tensorflow.py.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy
import tensorflow as tf

from ..datasets.preprocessing import MEAN, STANDARD_DEVIATION  # plain data, as GAMMA: constants are written down once
from ..functional.activations import GAMMA

# tf.nn.gelu is the erf form by default, and both of its forms have a constant that is float32 in every dtype.


def gelu(x: tf.Tensor) -> tf.Tensor:
    """The tanh form, as the authors'."""
    return 0.5 * x * (1.0 + tf.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))


def gelu_by_erf(x: tf.Tensor) -> tf.Tensor:
    """The other form, x·Phi(x)."""
    return 0.5 * x * (1.0 + tf.math.erf(x * math.sqrt(0.5)))


FUNCTIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "identity": lambda x: x, "relu": tf.nn.relu, "relu6": tf.nn.relu6, "silu": tf.nn.silu,
    "leaky_relu": lambda x: tf.maximum(x, 0.01 * x),  # TensorFlow's own has 0.2
    "gelu": gelu, "gelu_erf": gelu_by_erf, "elu": tf.nn.elu, "selu": tf.nn.selu, "sigmoid": tf.sigmoid, "tanh": tf.tanh,
    "softplus": tf.nn.softplus, "softsign": tf.nn.softsign, "celu": tf.nn.elu,  # celu with alpha = 1
    "log_sigmoid": tf.math.log_sigmoid, "log_softmax": tf.nn.log_softmax,
}


# ---- layers


def activation(x: tf.Tensor, name: str, scale: float = 1.0) -> tf.Tensor:
    """scale·gamma·g(x), where gamma·g(x) has variance 1 if x is N(0, 1). Source: 2101.08692, section 4.1."""
    return FUNCTIONS[name](x) * (GAMMA[name] * scale)


def standardize(weight: tf.Tensor, gain: tf.Tensor, eps: float = 1e-4) -> tf.Tensor:
    """gain·(W - mu)/sqrt(max(N·sigma², eps)) for each output unit, the last axis of a weight (kh, kw, in/groups, out).

    N is the fan-in; mean and variance are over it, the variance biased, as tf.nn.moments has it. eps is a floor of
    N·sigma², not a term of a sum. Source: 2101.08692, eq. 3; the floor is that of the released code.
    """
    fan_in = math.prod(weight.shape[:3])
    mean, variance = tf.nn.moments(tf.convert_to_tensor(weight), axes=[0, 1, 2])
    return (weight - mean) * (tf.math.rsqrt(tf.maximum(fan_in * variance, eps)) * gain)


def conv2d_same(x: tf.Tensor, weight: tf.Tensor, stride: int, groups: int) -> tf.Tensor:
    """SAME convolution; on a processor, where TensorFlow has no gradient of a grouped one, group by group."""
    if groups == 1 or tf.config.list_logical_devices("GPU"):
        return tf.nn.conv2d(x, weight, stride, "SAME")
    parts = zip(tf.split(x, groups, axis=3), tf.split(weight, groups, axis=3), strict=True)
    return tf.concat([tf.nn.conv2d(image, kernel, stride, "SAME") for image, kernel in parts], axis=3)


class ScaledWSConv2D(keras.layers.Layer):
    """SAME convolution whose weight is standardized in every call, so that the gradient passes through it."""

    def __init__(self, filters: int, kernel_size: int, strides: int = 1, groups: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self.filters, self.kernel_size, self.strides, self.groups = filters, kernel_size, strides, groups

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Weight N(0, 1/fan_in), not Keras's uniform default; gain 1; bias 0."""
        shape = (self.kernel_size, self.kernel_size, input_shape[-1] // self.groups, self.filters)
        start = keras.initializers.RandomNormal(stddev=math.prod(shape[:3]) ** -0.5)
        self.weight = self.add_weight(name="weight", shape=shape, initializer=start)
        # A vector, not (1, 1, 1, out): where units are told by the rank, AGC takes a vector for one unit.
        self.gain = self.add_weight(name="gain", shape=(self.filters,), initializer="ones")
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return conv2d_same(x, standardize(self.weight, self.gain), self.strides, self.groups) + self.bias


class Linear(keras.layers.Layer):
    """A linear layer whose weight starts as N(0, std²), 1/sqrt(in) by default, and whose bias starts at 0."""

    def __init__(self, units: int, std: float | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.units, self.std = units, std

    def build(self, input_shape: tuple[int, ...]) -> None:
        std = input_shape[-1] ** -0.5 if self.std is None else self.std
        self.weight = self.add_weight(name="weight", shape=(input_shape[-1], self.units),
                                      initializer=keras.initializers.RandomNormal(stddev=std))
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.matmul(x, self.weight) + self.bias


class SqueezeExcite(keras.layers.Layer):
    """x · 2·sigmoid(fc1(relu(fc0(mean over the image)))): the factor 2 keeps the variance; the relu has no gamma."""

    def __init__(self, channels: int, ratio: float, **options: Any) -> None:
        super().__init__(**options)
        self.fc0, self.fc1 = Linear(max(1, int(channels * ratio))), Linear(channels)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        hidden = tf.nn.relu(self.fc0(tf.reduce_mean(x, axis=[1, 2])))
        gate = 2.0 * tf.sigmoid(self.fc1(hidden))
        return x * gate[:, None, None, :]


class StochasticDepth(keras.layers.Layer):
    """In training, 0 for whole examples with probability `rate`; the others are not divided by 1 - rate."""

    def __init__(self, rate: float, **options: Any) -> None:
        super().__init__(**options)
        self.rate = rate

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or self.rate == 0.0:
            return x
        kept = tf.random.uniform((tf.shape(x)[0], 1, 1, 1)) >= self.rate
        return x * tf.cast(kept, x.dtype)


def avg_pool_same(x: tf.Tensor) -> tf.Tensor:
    """SAME average pooling, 2×2 with stride 2: divided by the pixels that are there, as TensorFlow does."""
    return tf.nn.avg_pool2d(x, 2, 2, "SAME")


def max_pool_same(x: tf.Tensor) -> tf.Tensor:
    """SAME max pooling, 3×3 with stride 2, padded with -inf, as TensorFlow does."""
    return tf.nn.max_pool2d(x, 3, 2, "SAME")


# ---- blocks


class Block(keras.layers.Layer):
    """shortcut + alpha·skip_gain·branch(beta·act(x)); a subclass has `branch`.

    The shortcut of a block that changes stride or channels starts from the activated `out`, any other from x itself.
    """

    pools = True  # NF-ResNets stride the 1×1 convolution of a shortcut instead

    def __init__(self, config: Any, in_channels: int, out_channels: int, stride: int, beta: float,
                 drop_rate: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.act, self.alpha, self.beta, self.stride = config.activation, config.alpha, beta, stride
        self.conv_shortcut = None
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = ScaledWSConv2D(out_channels, 1, strides=1 if self.pools else stride)
        self.stochastic_depth = StochasticDepth(drop_rate)

    def build(self, input_shape: tuple[int, ...]) -> None:
        self.skip_gain = self.add_weight(name="skip_gain", shape=(), initializer="zeros")

    def branch(self, out: tf.Tensor) -> tf.Tensor:
        """The residual of the activated input."""
        raise NotImplementedError

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        out = activation(x, self.act, self.beta)
        shortcut = x
        if self.conv_shortcut is not None:
            shortcut = self.conv_shortcut(avg_pool_same(out) if self.pools and self.stride > 1 else out)
        residual = self.stochastic_depth(self.branch(out), training=training)
        return shortcut + residual * (self.alpha * self.skip_gain)


class NFNetBlock(Block):
    """1×1 → 3×3 grouped (has the stride) → 3×3 grouped → 1×1 → squeeze-and-excite; width from the *output* channels."""

    def __init__(self, config: Any, index: int, in_channels: int, out_channels: int, stride: int, beta: float,
                 drop_rate: float = 0.0, **options: Any) -> None:
        super().__init__(config, in_channels, out_channels, stride, beta, drop_rate, **options)
        groups = int(out_channels * config.expansion) // config.group_size
        width = groups * config.group_size
        self.conv0 = ScaledWSConv2D(width, 1)
        self.conv1 = ScaledWSConv2D(width, 3, strides=stride, groups=groups)
        self.conv1b = ScaledWSConv2D(width, 3, groups=groups)
        self.conv2 = ScaledWSConv2D(out_channels, 1)
        self.squeeze_excite = SqueezeExcite(out_channels, config.se_ratio)

    def branch(self, out: tf.Tensor) -> tf.Tensor:
        out = activation(self.conv0(out), self.act)
        out = activation(self.conv1(out), self.act)
        out = activation(self.conv1b(out), self.act)
        return self.squeeze_excite(self.conv2(out))


class NFRegNetBlock(Block):
    """1×1 → 3×3 grouped (has the stride) → squeeze-and-excite → 1×1; width from the *input* channels.

    The expansion does not apply to the network's first block (index 0). Squeeze-and-excite stands before the
    nonlinearity that precedes the last 1×1 convolution.
    """

    def __init__(self, config: Any, index: int, in_channels: int, out_channels: int, stride: int, beta: float,
                 drop_rate: float = 0.0, **options: Any) -> None:
        super().__init__(config, in_channels, out_channels, stride, beta, drop_rate, **options)
        expansion = 1 if index == 0 else config.expansion
        groups = max(1, int(in_channels * expansion) // config.group_size)
        width = groups * config.group_size
        self.conv0 = ScaledWSConv2D(width, 1)
        self.conv1 = ScaledWSConv2D(width, 3, strides=stride, groups=groups)
        self.squeeze_excite = SqueezeExcite(width, config.se_ratio)
        self.conv2 = ScaledWSConv2D(out_channels, 1)

    def branch(self, out: tf.Tensor) -> tf.Tensor:
        out = self.squeeze_excite(self.conv1(activation(self.conv0(out), self.act)))
        return self.conv2(activation(out, self.act))


class NFResNetBlock(Block):
    """1×1 → 3×3 (has the stride) → 1×1 → squeeze-and-excite if wanted; a strided shortcut strides and does not pool."""

    pools = False

    def __init__(self, config: Any, index: int, in_channels: int, out_channels: int, stride: int, beta: float,
                 drop_rate: float = 0.0, **options: Any) -> None:
        super().__init__(config, in_channels, out_channels, stride, beta, drop_rate, **options)
        width = max(1, int(out_channels * config.bottleneck_ratio))
        self.conv0 = ScaledWSConv2D(width, 1)
        self.conv1 = ScaledWSConv2D(width, 3, strides=stride)
        self.conv2 = ScaledWSConv2D(out_channels, 1)
        self.squeeze_excite = SqueezeExcite(out_channels, config.se_ratio) if config.use_se else None

    def branch(self, out: tf.Tensor) -> tf.Tensor:
        out = activation(self.conv0(out), self.act)
        out = self.conv2(activation(self.conv1(out), self.act))
        return out if self.squeeze_excite is None else self.squeeze_excite(out)


def make_blocks(block: Callable[..., Block], config: Any, channels: int, widths: list[int]) -> list[Block]:
    """All blocks of a network, whose stem gives `channels`; widths: output channels of each stage.

    The variance grows by alpha² with each block of a stage. The first block of a stage resets it, but only for the
    blocks after it: its own beta still uses the variance that the stage before ended with. Stochastic depth drops more
    the deeper the block, and never the first.
    """
    blocks: list[Block] = []
    variance, total = 1.0, sum(config.depths)
    for width, depth, stride in zip(widths, config.depths, config.strides, strict=True):
        for position in range(depth):
            index = len(blocks)
            blocks.append(block(config, index, channels, width, stride if position == 0 else 1, variance ** -0.5,
                                config.stochdepth_rate * index / total))
            channels = width
            variance = 1.0 + (position + 1) * config.alpha**2
    return blocks


# ---- networks


class Network(keras.Model):
    """Normalized images (N, H, W, C) in, logits out; a subclass has the layers, `stem` and `head`."""

    stem: Callable[[tf.Tensor], tf.Tensor]
    head: Callable[[tf.Tensor], tf.Tensor]
    blocks: list[Block]
    dropout: keras.layers.Dropout
    linear: Linear

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, training=training)
        features = tf.reduce_mean(self.head(x), axis=[1, 2])
        return self.linear(self.dropout(features, training=training))


class NFNet(Network):
    """From the fields of an NFNetConfig. Source: 2102.06171, section 4 and appendix."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.act = config.activation
        widths = config.stem_widths or (16, 32, 64, config.widths[0] // 2)
        self.stem_convs = [ScaledWSConv2D(width, 3, strides=stride)
                           for width, stride in zip(widths, config.stem_strides, strict=True)]
        self.blocks = make_blocks(NFNetBlock, config, widths[-1], config.widths)
        self.final_conv = ScaledWSConv2D(int(config.final_conv_multiplier * config.widths[-1]), 1)
        self.dropout = keras.layers.Dropout(config.drop_rate)
        self.linear = Linear(config.num_classes, std=0.01)

    def stem(self, x: tf.Tensor) -> tf.Tensor:
        """A nonlinearity stands between the convolutions, none after the last: the first block has its own."""
        x = self.stem_convs[0](x)
        for conv in self.stem_convs[1:]:
            x = conv(activation(x, self.act))
        return x

    def head(self, x: tf.Tensor) -> tf.Tensor:
        return activation(self.final_conv(x), self.act)


class NFResNet(Network):
    """From the fields of an NFResNetConfig. Source: 2101.08692, section 4."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.act, self.pools = config.activation, config.stem_pool
        channels = config.widths[0] // 4
        self.initial_conv = ScaledWSConv2D(channels, config.stem_kernel, strides=config.stem_stride)
        self.blocks = make_blocks(NFResNetBlock, config, channels, config.widths)
        self.dropout = keras.layers.Dropout(config.drop_rate)
        self.linear = Linear(config.num_classes, std=0.01)

    def stem(self, x: tf.Tensor) -> tf.Tensor:
        """No nonlinearity: the first block begins with one."""
        x = self.initial_conv(x)
        return max_pool_same(x) if self.pools else x

    def head(self, x: tf.Tensor) -> tf.Tensor:
        """An NF-ResNet has no final convolution."""
        return activation(x, self.act)


class NFRegNet(Network):
    """From the fields of an NFRegNetConfig, whose widths are the paper's, before the factor 0.75 of the released code.

    Source: 2101.08692, section 5 and appendix. The weight of the last layer starts at 0.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.act = config.activation
        widths = [int(config.width_factor * width) for width in config.widths]
        self.initial_conv = ScaledWSConv2D(widths[0], 3, strides=config.stem_stride)
        self.blocks = make_blocks(NFRegNetBlock, config, widths[0], widths)
        self.final_conv = ScaledWSConv2D(int(1280 * widths[-1] // 440), 1)
        self.dropout = keras.layers.Dropout(config.drop_rate)
        self.linear = Linear(config.num_classes, std=0.0)

    def stem(self, x: tf.Tensor) -> tf.Tensor:
        return self.initial_conv(x)

    def head(self, x: tf.Tensor) -> tf.Tensor:
        return activation(self.final_conv(x), self.act)


NETWORK_OF = {"NFNetConfig": NFNet, "NFResNetConfig": NFResNet, "NFRegNetConfig": NFRegNet}


def from_config(config: Any, size: int = 32) -> Network:
    """The network that a configuration of nfnumpy.models describes, with its variables; it takes images of any size.

    size: of the image that it is called with once, to make them.
    """
    network = NETWORK_OF[type(config).__name__](config)
    network(tf.zeros((1, size, size, config.in_channels)))
    return network


def normalize(images: tf.Tensor, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """uint8 images (N, H, W, 3) as the networks take them."""
    mean, deviation = tf.constant(MEAN, dtype), tf.constant(STANDARD_DEVIATION, dtype)
    return (tf.cast(images, dtype) * (1.0 / 255.0) - mean) / deviation


# ---- parameters


LEAVES = ("weight", "gain", "bias", "skip_gain")
PARTS = ("stem_convs", "initial_conv", "blocks", "conv_shortcut", "conv0", "conv1", "conv1b", "conv2", "squeeze_excite",
         "fc0", "fc1", "final_conv", "linear")


def named_variables(layer: keras.layers.Layer, path: str = "") -> Iterator[tuple[str, Any]]:
    """(the reference's name, the variable) of every parameter: Keras's own names are not unique."""
    for leaf in LEAVES:
        if getattr(layer, leaf, None) is not None:
            yield f"{path}{leaf}", getattr(layer, leaf)
    for part in PARTS:
        found = getattr(layer, part, None)
        if isinstance(found, list):
            for index, inner in enumerate(found):
                yield from named_variables(inner, f"{path}{part}.{index}.")
        elif found is not None:
            yield from named_variables(found, f"{path}{part}.")


def load_reference_state(network: keras.Model, state: Mapping[str, numpy.ndarray]) -> None:
    """Give `network` the parameters `state` (name -> host array), all of them; the layouts are the same."""
    variables = dict(named_variables(network))
    if variables.keys() != state.keys():
        raise ValueError(f"other parameters: {sorted(variables.keys() ^ state.keys())[:4]}")
    for name, array in state.items():
        variables[name].assign(array)


def reference_state(network: keras.Model) -> dict[str, numpy.ndarray]:
    """The parameters as nfnumpy's `load_state_dict` takes them: name -> host array."""
    return {name: numpy.array(variable) for name, variable in named_variables(network)}
