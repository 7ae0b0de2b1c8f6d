"""Blocks and networks of NF-ResNets as Keras's functions of tensors, and as a function of parameters in TensorFlow."""

import functools

import keras
from keras import layers

from nfnumpy.ports.tensorflow import ScaledWSConv2D
from reference_tests.audit.registry import Case, add, planted, right
from reference_tests.helpers.keras_networks import CONFIG, SkipGain, activated
from reference_tests.verify import test_tensorflow


def squeeze_excite(x, factor, hidden):
    channels = x.shape[-1]
    gate = layers.Dense(max(1, int(channels * CONFIG.se_ratio)), activation=hidden)(layers.GlobalAveragePooling2D()(x))
    gate = layers.Reshape((1, 1, channels))(layers.Dense(channels, activation="sigmoid")(gate))
    return layers.Rescaling(factor)(layers.Multiply()([x, gate]))


def block_function(has_beta=True, has_alpha=True, has_gain=True, factor=2.0, hidden="relu", shortcut_of="activated",
                   last=False, stride_on=1):
    """A function that builds the layers of a block on a tensor."""
    def block(x, filters, stride, beta, alpha):
        plain = activated(x)
        out = layers.Rescaling(beta if has_beta else 1.0)(plain)
        shortcut = x
        if stride > 1 or x.shape[-1] != filters:
            source = {"activated": out, "x": x, "plain": plain}[shortcut_of]
            shortcut = ScaledWSConv2D(filters, 1, strides=stride)(source)
        width = int(filters * CONFIG.bottleneck_ratio)
        out = ScaledWSConv2D(width, 1, strides=stride if stride_on == 0 else 1)(out)
        out = ScaledWSConv2D(width, 3, strides=stride if stride_on == 1 else 1)(activated(out))
        out = ScaledWSConv2D(filters, 1)(activated(out))
        out = squeeze_excite(activated(out) if last else out, factor, hidden)
        out = SkipGain()(out) if has_gain else out
        return layers.Add()([shortcut, layers.Rescaling(alpha if has_alpha else 1.0)(out)])
    return block


def network(block, resets=True, last_activation=True, squared=True):
    x = images = keras.Input((None, None, 3))
    x = ScaledWSConv2D(CONFIG.widths[0] // 4, CONFIG.stem_kernel, strides=CONFIG.stem_stride)(x)
    x, variance = layers.MaxPooling2D(3, 2, padding="same")(x), 1.0
    for width, depth, stride in zip(CONFIG.widths, CONFIG.depths, CONFIG.strides, strict=True):
        for position in range(depth):
            x = block(x, width, stride if position == 0 else 1, variance**-0.5, CONFIG.alpha)
            variance = (1.0 if position == 0 and resets else variance) + CONFIG.alpha ** (2 if squared else 1)
    x = activated(x) if last_activation else x
    return keras.Model(images, layers.Dense(CONFIG.num_classes)(layers.GlobalAveragePooling2D()(x)))


right("block", "tensorflow", framework="keras")(block_function())
SINGLE = {
    "beta missing": {"has_beta": False}, "alpha missing": {"has_alpha": False},
    "skip gain missing": {"has_gain": False}, "factor 2 missing": {"factor": 1.0},
    "silu in place of relu": {"hidden": "silu"}, "shortcut from x": {"shortcut_of": "x"},
    "shortcut without beta": {"shortcut_of": "plain"},
    "nonlinearity at the branch's end": {"last": True}, "stride on the first 1×1": {"stride_on": 0}}
SEVERAL = (("beta missing", "factor 2 missing"), ("shortcut from x", "alpha missing"),
           ("silu in place of relu", "stride on the first 1×1"),
           ("factor 2 missing", "silu in place of relu", "shortcut without beta"),
           ("alpha missing", "nonlinearity at the branch's end", "factor 2 missing"))


def switches(causes):
    return {key: value for cause in causes for key, value in SINGLE[cause].items()}


for causes in (*((cause,) for cause in SINGLE), *SEVERAL):
    planted("block", "tensorflow", *causes, framework="keras", is_quick=False)(block_function(**switches(causes)))

OF_NETWORK = {"final nonlinearity missing": {"last_activation": False}, "expected_std never reset": {"resets": False},
              "alpha not squared in expected_std": {"squared": False}}


def of_network(*causes):
    """A Case of a network with some of SINGLE in all its blocks, and some of OF_NETWORK."""
    def make():
        inner, outer = ([cause for cause in causes if cause in table] for table in (SINGLE, OF_NETWORK))
        options = {key: value for cause in outer for key, value in OF_NETWORK[cause].items()}
        return network(block_function(**switches(inner)), **options), {"config": CONFIG, "size": 24}

    add(Case("model", "tensorflow", ", ".join(causes) or "right", make, frozenset(causes), frozenset(),
             "keras_networks", is_quick=False))


for causes in ((), *((name,) for name in (*OF_NETWORK, "beta missing", "skip gain missing", "shortcut from x")),
               ("factor 2 missing", "expected_std never reset"), ("alpha missing", "final nonlinearity missing"),
               ("silu in place of relu", "shortcut from x", "alpha not squared in expected_std"),
               ("factor 2 missing", "nonlinearity at the branch's end", "final nonlinearity missing")):
    of_network(*causes)

right("model", "tensorflow", config=test_tensorflow.CONFIG, size=24, is_quick=False)(test_tensorflow.nf_resnet)
planted("model", "tensorflow", "beta missing", config=test_tensorflow.CONFIG, size=24, is_quick=False)(
    functools.partial(test_tensorflow.nf_resnet, reads_beta=False))
