"""Networks of Keras in the functional form, whose layers have automatic names: right ones, and some with a mistake."""

import keras
import tensorflow as tf
from keras import layers

import nfnumpy as nf
from nfnumpy.ports.tensorflow import ScaledWSConv2D

CONFIG = nf.models.NFResNetConfig(widths=(16, 32), depths=(2, 2), strides=(1, 2), use_se=True, num_classes=7)
RELU_GAIN = 1.7139588594436646


class SkipGain(layers.Layer):
    def build(self, input_shape):
        self.skip_gain = self.add_weight(shape=(), initializer="zeros")

    def call(self, x):
        return x * self.skip_gain


def activated(x):
    return layers.Activation(lambda x: tf.nn.relu(x) * RELU_GAIN)(x)


def squeeze_excite(x, ratio):
    channels = x.shape[-1]
    gate = layers.GlobalAveragePooling2D()(x)
    gate = layers.Dense(max(1, int(channels * ratio)), activation="relu")(gate)
    gate = layers.Dense(channels, activation="sigmoid")(gate)
    return layers.Rescaling(2.0)(layers.Multiply()([x, layers.Reshape((1, 1, channels))(gate)]))


def residual_block(x, filters, stride, beta, alpha, forgets_beta=False):
    """A function that builds the layers of a block of an NF-ResNet on a tensor."""
    out = activated(x) if forgets_beta else layers.Rescaling(beta)(activated(x))
    shortcut = x
    if stride > 1 or x.shape[-1] != filters:
        shortcut = ScaledWSConv2D(filters, 1, strides=stride)(out)
    width = int(filters * CONFIG.bottleneck_ratio)
    out = ScaledWSConv2D(width, 1)(out)
    out = ScaledWSConv2D(width, 3, strides=stride)(activated(out))
    out = squeeze_excite(ScaledWSConv2D(filters, 1)(activated(out)), CONFIG.se_ratio)
    return layers.Add()([shortcut, layers.Rescaling(alpha)(SkipGain()(out))])


def network(size=None, last_activation=True, resets=True):
    """An NF-ResNet by CONFIG; size: of images, if it takes no other; resets: whether a stage resets the variance."""
    x = images = keras.Input((size, size, 3))
    x = ScaledWSConv2D(CONFIG.widths[0] // 4, CONFIG.stem_kernel, strides=CONFIG.stem_stride)(x)
    x, variance = layers.MaxPooling2D(3, 2, padding="same")(x), 1.0
    for width, depth, stride in zip(CONFIG.widths, CONFIG.depths, CONFIG.strides, strict=True):
        for position in range(depth):
            x = residual_block(x, width, stride if position == 0 else 1, variance ** -0.5, CONFIG.alpha)
            variance = (1.0 if position == 0 and resets else variance) + CONFIG.alpha**2
    x = activated(x) if last_activation else x
    return keras.Model(images, layers.Dense(CONFIG.num_classes)(layers.GlobalAveragePooling2D()(x)))


class OfModules(tf.Module):
    """The same as a module that holds the network."""

    def __init__(self):
        super().__init__()
        self.network = network()

    def __call__(self, images, is_training=False):
        return {"logits": self.network(images, training=is_training)}
