"""Layers for checks of Keras, right ones and mistaken ones, in keras.ops: they run on every backend of Keras.

`python -m reference_tests.helpers.keras_layers NAME …` checks some on the backend that KERAS_BACKEND names, and prints
{name: [outcome, diagnosis]} as JSON; a process has one backend.
"""

import json
import math
import sys

import keras
from keras import layers, ops

from nfnumpy.verify import check

RELU_GAIN = 1.7139588594436646


class ScaledStandardizedConv2D(layers.Conv2D):
    """The gain is made in `build`; a mistake is one method."""

    floor = 1e-4

    def build(self, input_shape):
        super().build(input_shape)
        self.gain = self.add_weight(name="gain", shape=(self.filters,), initializer="ones")

    def moments(self, weight):
        mean = ops.mean(weight, axis=(0, 1, 2))
        return mean, ops.mean(ops.square(weight - mean), axis=(0, 1, 2))

    def fan_in(self, weight):
        return math.prod(weight.shape[:3])

    def standardize_weight(self, weight):
        mean, variance = self.moments(weight)
        return self.gain * (weight - mean) * ops.rsqrt(ops.maximum(variance * self.fan_in(weight), self.floor))

    def call(self, inputs):
        out = ops.conv(inputs, self.standardize_weight(ops.convert_to_tensor(self.kernel)), self.strides, self.padding)
        return out + self.bias


class FromScratch(layers.Layer):
    """No subclass of a convolution; the gain is stored as (1, 1, 1, out)."""

    def __init__(self, filters, kernel_size, strides=1, **options):
        super().__init__(**options)
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides

    def build(self, input_shape):
        size = self.kernel_size
        self.w = self.add_weight(shape=(size, size, input_shape[-1], self.filters))
        self.g = self.add_weight(shape=(1, 1, 1, self.filters), initializer="ones")
        self.b = self.add_weight(shape=(self.filters,), initializer="zeros")

    def call(self, x):
        flat = ops.reshape(self.w, (-1, self.filters))
        centred = flat - ops.mean(flat, axis=0)
        weight = centred / ops.sqrt(ops.maximum(ops.sum(centred * centred, axis=0), 1e-4))
        return ops.conv(x, self.g * ops.reshape(weight, self.w.shape), self.strides, "same") + self.b


def unit(kernel, axes, centred=True):
    """The kernel without its mean, divided by the norm of that, over some axes."""
    without_mean = kernel - ops.mean(kernel, axis=axes, keepdims=True)
    norm = ops.sqrt(ops.maximum(ops.sum(ops.square(without_mean), axis=axes, keepdims=True), 1e-4))
    return (without_mean if centred else kernel) / norm


class WithGain(layers.Layer):
    """A layer with a gain for each output."""

    def build(self, input_shape):
        super().build(input_shape)
        self.gain = self.add_weight(name="gain", shape=self.gain_shape(input_shape), initializer="ones")

    def gain_shape(self, input_shape):
        return (self.filters,)


class ScaledDepthwise(WithGain, layers.DepthwiseConv2D):
    centred = True

    def gain_shape(self, input_shape):
        return (input_shape[-1], self.depth_multiplier)

    def call(self, inputs):
        weight = unit(ops.convert_to_tensor(self.kernel), (0, 1), self.centred) * self.gain
        return ops.depthwise_conv(inputs, weight, self.strides, self.padding) + self.bias


class DepthwiseNotCentred(ScaledDepthwise):
    centred = False


class ScaledConv1D(WithGain, layers.Conv1D):
    def call(self, inputs):
        weight = unit(ops.convert_to_tensor(self.kernel), (0, 1)) * self.gain
        return ops.conv(inputs, weight, self.strides, self.padding) + self.bias


class ScaledTransposed(WithGain, layers.Conv2DTranspose):
    """Its weight is (kh, kw, out, in)."""

    centred = True

    def gain_shape(self, input_shape):
        return (self.filters, 1)

    def call(self, inputs):
        weight = unit(ops.convert_to_tensor(self.kernel), (0, 1, 3), self.centred) * self.gain
        return ops.conv_transpose(inputs, weight, self.strides, self.padding) + self.bias


class TransposedNotCentred(ScaledTransposed):
    centred = False


def functional_convolution(inputs, filters, kernel_size, strides=1):
    """A function that builds a layer on a tensor."""
    return ScaledStandardizedConv2D(filters, kernel_size, strides=strides, padding="same")(inputs)


class Bessel(ScaledStandardizedConv2D):
    def moments(self, weight):
        mean, variance = super().moments(weight)
        count = self.fan_in(weight)
        return mean, variance * (count / (count - 1) if count > 1 else math.nan)


class OverInputs(ScaledStandardizedConv2D):
    """The axes of PyTorch's weights."""

    def moments(self, weight):
        mean = ops.mean(weight, axis=(1, 2, 3), keepdims=True)
        return mean, ops.mean(ops.square(weight - mean), axis=(1, 2, 3), keepdims=True)


class WholeTensor(ScaledStandardizedConv2D):
    def moments(self, weight):
        mean = ops.mean(weight)
        return mean, ops.mean(ops.square(weight - mean))


class WithoutFanIn(ScaledStandardizedConv2D):
    def fan_in(self, weight):
        return 1


class CountsOutputs(ScaledStandardizedConv2D):
    def fan_in(self, weight):
        return math.prod(weight.shape)


class NotCentred(ScaledStandardizedConv2D):
    def standardize_weight(self, weight):
        _, variance = self.moments(weight)
        return self.gain * weight * ops.rsqrt(ops.maximum(variance * self.fan_in(weight), self.floor))


class WithoutGain(ScaledStandardizedConv2D):
    def standardize_weight(self, weight):
        return super().standardize_weight(weight) / self.gain


class Overwrites(ScaledStandardizedConv2D):
    """Each call writes into the parameter."""

    def call(self, inputs):
        self.kernel.assign(self.standardize_weight(ops.convert_to_tensor(self.kernel)))
        return layers.Conv2D.call(self, inputs)


class EpsAdded(ScaledStandardizedConv2D):
    def standardize_weight(self, weight):
        mean, variance = self.moments(weight)
        return self.gain * (weight - mean) * ops.rsqrt((variance + 1e-5) * self.fan_in(weight))


class SqueezeExcite(layers.Layer):
    """The number of channels is the tensor's."""

    factor = 2.0

    def __init__(self, ratio=0.5, **options):
        super().__init__(**options)
        self.ratio = ratio

    def build(self, input_shape):
        channels = input_shape[-1]
        self.fc0 = layers.Dense(max(1, int(channels * self.ratio)), activation="relu")
        self.fc1 = layers.Dense(channels, activation="sigmoid")

    def pooled(self, x):
        return ops.mean(x, axis=(1, 2))

    def call(self, x):
        return x * self.factor * self.fc1(self.fc0(self.pooled(x)))[:, None, None, :]


class OfBothWidths(layers.Layer):
    """With the authors' parameters."""

    def __init__(self, in_ch, out_ch, se_ratio=0.5, **options):
        super().__init__(**options)
        self.fc0, self.fc1 = layers.Dense(max(1, int(in_ch * se_ratio))), layers.Dense(out_ch)

    def call(self, x):
        return 2.0 * ops.sigmoid(self.fc1(ops.relu(self.fc0(ops.mean(x, axis=(1, 2))))))[:, None, None, :] * x


def functional_squeeze_excite(inputs, ratio=0.5, factor=2.0):
    """A function that builds layers, with 1×1 convolutions."""
    channels = inputs.shape[-1]
    out = layers.GlobalAveragePooling2D(keepdims=True)(inputs)
    out = layers.Conv2D(max(1, int(channels * ratio)), 1, activation="relu")(out)
    out = layers.Conv2D(channels, 1, activation="sigmoid")(out)
    return layers.Rescaling(factor)(layers.Multiply()([inputs, out]))


class NotDoubled(SqueezeExcite):
    factor = 1.0


class TakesTheMaximum(SqueezeExcite):
    def pooled(self, x):
        return ops.max(x, axis=(1, 2))


class StochasticDepth(layers.Layer):
    """Its random numbers come from a seed generator."""

    divides, evaluation = False, False

    def __init__(self, drop_rate=0.2, **options):
        super().__init__(**options)
        self.drop_rate, self.seeds = drop_rate, keras.random.SeedGenerator(5)

    def mask_shape(self, x):
        return (x.shape[0], 1, 1, 1)

    def call(self, x, training=False):
        if not training and not self.evaluation:
            return x
        kept = ops.cast(keras.random.uniform(self.mask_shape(x), seed=self.seeds) >= self.drop_rate, x.dtype)
        return x * kept / (1.0 - self.drop_rate if self.divides else 1.0)


class Divides(StochasticDepth):
    divides = True


class DropsInEvaluation(StochasticDepth):
    evaluation = True


class DropsChannels(StochasticDepth):
    def mask_shape(self, x):
        return (x.shape[0], 1, 1, x.shape[3])


class ScaledRelu(layers.Layer):
    def call(self, x):
        return ops.relu(x) * RELU_GAIN


class Normalization(layers.Layer):
    """Batch normalization by hand, in Keras's convention."""

    decay, axes = 0.99, (0, 1, 2)

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros")
        self.moving_mean = self.add_weight(name="moving_mean", shape=shape, initializer="zeros", trainable=False)
        self.moving_variance = self.add_weight(name="moving_variance", shape=shape, initializer="ones", trainable=False)

    def call(self, x, training=False):
        if training:
            mean = ops.mean(x, axis=self.axes)
            variance = ops.mean(ops.square(x - mean), axis=self.axes)
            for average, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
                average.assign(self.decay * average + (1.0 - self.decay) * new)
        else:
            mean, variance = ops.convert_to_tensor(self.moving_mean), ops.convert_to_tensor(self.moving_variance)
        return (x - mean) * ops.rsqrt(variance + 1e-3) * self.gamma + self.beta


class MomentumTheOtherWayRound(Normalization):
    decay = 0.01


RIGHT = {"ws_conv": (ScaledStandardizedConv2D, FromScratch, functional_convolution, ScaledDepthwise, ScaledConv1D,
                     ScaledTransposed),
         "se": (SqueezeExcite, OfBothWidths, functional_squeeze_excite), "stochastic_depth": (StochasticDepth,),
         "activation": (ScaledRelu,), "norm": (Normalization, layers.BatchNormalization)}
MISTAKES = {  # the name of the known variant that verify should find
    Bessel: ("ws_conv", "Bessel-corrected variance"), OverInputs: ("ws_conv", "statistics per kernel row"),
    WholeTensor: ("ws_conv", "statistics over the whole tensor"), WithoutFanIn: ("ws_conv", "no division by √N"),
    CountsOutputs: ("ws_conv", "fan-in counts the output channels"), NotCentred: ("ws_conv", "not centred"),
    WithoutGain: ("ws_conv", "gain left out"), DepthwiseNotCentred: ("ws_conv", "not centred"),
    TransposedNotCentred: ("ws_conv", "not centred"),
    Overwrites: ("ws_conv", "weight overwritten by the standardized one"), NotDoubled: ("se", "factor 2 missing"),
    TakesTheMaximum: ("se", "maximum in place of the mean"),
    DropsInEvaluation: ("stochastic_depth", "active in evaluation"),
    DropsChannels: ("stochastic_depth", "a mask for every channel"),
    MomentumTheOtherWayRound: ("norm", "momentum the other way round")}
BENIGN = {EpsAdded: ("ws_conv", "eps 1e-05 added to variance"), Divides: ("stochastic_depth",
                                                                        "rescaled by 1/(1 - rate)")}


def outcomes(names):
    """{name: (outcome, diagnosis)} of right targets and mistakes by their names."""
    kinds = {target.__name__: (kind, target) for kind, some in RIGHT.items() for target in some}
    kinds |= {target.__name__: (kind, target) for target, (kind, _) in MISTAKES.items()}
    verdicts = {name: check(*kinds[name], framework="keras", examples=0) for name in names}
    return {name: (verdict.outcome, verdict.diagnosis) for name, verdict in verdicts.items()}


if __name__ == "__main__":
    print(json.dumps({"backend": keras.config.backend(), **outcomes(sys.argv[1:])}))
