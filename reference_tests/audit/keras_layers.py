"""Keras's layers and optimizers with several mistakes at once, and right ones in further styles."""

import math

import keras
from keras import layers, ops

from reference_tests.audit.registry import planted, right
from reference_tests.helpers import keras_layers as single

GELU, SILU = 1.7015043497085571, 1.7881293296813965

# ---- activation


@right("activation", "tensorflow", "gamma to four digits", framework="keras")
class Swish(layers.Layer):
    def call(self, x):
        return 1.788 * ops.silu(x)


@planted("activation", "tensorflow", "it is silu", "gamma squared", nonlinearity="gelu")
class SwishForGelu(layers.Layer):
    def call(self, x):
        return ops.silu(x) * GELU * GELU


# ---- ws_conv


@right("ws_conv", "tensorflow")
class OfMoments(layers.Layer):
    """Pads by itself, and keeps its gain as a vector."""

    def __init__(self, filters, kernel_size, strides=1, padding="same", **options):
        super().__init__(**options)
        self.filters, self.size, self.strides, self.padding = filters, kernel_size, strides, padding

    def build(self, shape):
        self.kernel = self.add_weight(shape=(self.size, self.size, shape[-1], self.filters), name="kernel")
        self.gain = self.add_weight(shape=(self.filters,), initializer="ones", name="gain")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, x):
        weight = ops.convert_to_tensor(self.kernel)
        mean, variance = ops.moments(weight, axes=[0, 1, 2], keepdims=True)
        count = weight.shape[0] * weight.shape[1] * weight.shape[2]
        weight = (weight - mean) * ops.rsqrt(ops.maximum(variance * count, 1e-4)) * self.gain
        return ops.conv(x, weight, self.strides, self.padding) + self.bias


@planted("ws_conv", "tensorflow", "Bessel-corrected variance", "fan-in counts the output channels")
class BesselAndOutputs(single.CountsOutputs):
    def moments(self, weight):
        mean, variance = super().moments(weight)
        count = weight.shape[0] * weight.shape[1] * weight.shape[2]
        return mean, variance * (count / (count - 1) if count > 1 else math.nan)


@planted("ws_conv", "tensorflow", "statistics over the whole tensor", "gain left out")
class WholeWithoutGain(single.WithoutGain, single.WholeTensor):
    pass


@planted("ws_conv", "tensorflow", "not centred", "no division by √N")
class NeitherCentredNorScaled(single.NotCentred, single.WithoutFanIn):
    pass


@planted("ws_conv", "tensorflow", "statistics per kernel row", "fan-in counts the output channels", "gain left out")
class RowsOutputsNoGain(single.WithoutGain, single.OverInputs, single.CountsOutputs):
    pass


@planted("ws_conv", "tensorflow", "symmetric padding", "not centred", "fan-in counts the output channels")
class PaddedNotCentred(single.NotCentred, single.CountsOutputs):
    def call(self, inputs):
        edge = self.kernel_size[0] // 2
        inputs = ops.pad(inputs, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
        return ops.conv(inputs, self.standardize_weight(ops.convert_to_tensor(self.kernel)), self.strides, "valid") \
            + self.bias


# ---- se


@right("se", "tensorflow")
class PooledByALayer(layers.Layer):
    def __init__(self, channels, se_ratio=0.5, **options):
        super().__init__(**options)
        self.pool = layers.GlobalAveragePooling2D(keepdims=True)
        self.fc0 = layers.Dense(max(1, int(channels * se_ratio)), activation="relu")
        self.fc1 = layers.Dense(channels, activation="sigmoid")

    def pooled(self, x):
        return self.pool(x)

    def call(self, x):
        return 2.0 * x * self.fc1(self.fc0(self.pooled(x)))


@planted("se", "tensorflow", "mean over rows only")
class OverRows(PooledByALayer):
    def pooled(self, x):
        return ops.mean(x, axis=1, keepdims=True)


@planted("se", "tensorflow", "factor 2 missing", "maximum in place of the mean")
class MaximumNotDoubled(single.NotDoubled, single.TakesTheMaximum):
    pass


@planted("se", "tensorflow", "factor 2 missing", "maximum in place of the mean", "silu in place of relu")
class SwishMaximumNotDoubled(MaximumNotDoubled):
    def build(self, input_shape):
        super().build(input_shape)
        self.fc0.activation = keras.activations.silu


# ---- norm


@planted("norm", "tensorflow", "momentum the other way round", "batch statistics in evaluation", norm="batch_keras")
class InvertedAndNeverInEvaluation(single.MomentumTheOtherWayRound):
    def call(self, x, training=False):
        if training:
            return super().call(x, training=True)
        mean, variance = ops.moments(x, axes=[0, 1, 2])
        return (x - mean) * ops.rsqrt(variance + 1e-3) * self.gamma + self.beta


@planted("norm", "tensorflow", "running statistics not updated", "gamma plus one", norm="batch_keras")
class GammaPlusOneNeverUpdated(single.Normalization):
    def call(self, x, training=False):
        mean, variance = ops.moments(x, axes=[0, 1, 2]) if training else (self.moving_mean, self.moving_variance)
        unit = (x - ops.convert_to_tensor(mean)) * ops.rsqrt(ops.convert_to_tensor(variance) + 1e-3)
        return unit * (1 + self.gamma) + self.beta


# ---- stochastic_depth


@planted("stochastic_depth", "tensorflow", "a mask for every channel", "active in evaluation")
class ChannelsInEvaluation(single.DropsChannels, single.DropsInEvaluation):
    pass


@planted("stochastic_depth", "tensorflow", "a mask for every channel", "active in evaluation",
         "rescaled by 1/(1 - rate)")
class DividedChannelsInEvaluation(ChannelsInEvaluation, single.Divides):
    pass


# ---- agc


@right("agc", "tensorflow")
class ClippedSGD(keras.optimizers.SGD):
    def __init__(self, learning_rate=0.1, clip_factor=0.01, eps=1e-3, **options):
        super().__init__(learning_rate, **options)
        self.clip_factor, self.eps = clip_factor, eps

    def norm(self, x):
        if sum(size > 1 for size in x.shape) <= 1:
            return ops.sqrt(ops.sum(ops.square(x)))
        return ops.sqrt(ops.sum(ops.square(x), axis=tuple(range(len(x.shape) - 1)), keepdims=True))

    def limit(self, variable):
        return ops.maximum(self.norm(ops.convert_to_tensor(variable)), self.eps) * self.clip_factor

    def clipped(self, grad, variable):
        if grad is None:
            return None
        limit, size = self.limit(variable), self.norm(grad)
        return ops.where(size > limit, grad * (limit / ops.maximum(size, 1e-6)), grad)

    def apply(self, grads, trainable_variables=None):
        variables = self._trainable_variables if trainable_variables is None else trainable_variables
        super().apply([self.clipped(*pair) for pair in zip(grads, variables, strict=True)], trainable_variables)


@planted("agc", "tensorflow", "eps left out", "1e-6 added to the gradient norm")
class WithoutFloors(ClippedSGD):
    def clipped(self, grad, variable):
        limit, size = self.norm(ops.convert_to_tensor(variable)) * self.clip_factor, self.norm(grad)
        return ops.where(size > limit, grad * (limit / (size + 1e-6)), grad)


@planted("agc", "tensorflow", "units by the stored rank", "eps added to the weight norm")
class StoredRankEpsAdded(ClippedSGD):
    def norm(self, x):
        axes = tuple(range(len(x.shape) - 1)) or None
        return ops.sqrt(ops.sum(ops.square(x), axis=axes, keepdims=axes is not None))

    def limit(self, variable):
        return (self.norm(ops.convert_to_tensor(variable)) + self.eps) * self.clip_factor


# ---- schedule


@right("schedule", "tensorflow")
class WarmUpCosine(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, base_lr, total_steps, warmup_steps):
        self.base_lr, self.total_steps, self.warmup_steps = base_lr, total_steps, warmup_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        progress = (step - self.warmup_steps) / (self.total_steps - self.warmup_steps)
        return ops.where(step < self.warmup_steps, self.base_lr * step / self.warmup_steps,
                         0.5 * self.base_lr * (1 + ops.cos(3.141592653589793 * progress)))
