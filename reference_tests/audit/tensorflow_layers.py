"""Layers in plain TensorFlow: images are (N, H, W, C), weights (kh, kw, in, out) and (in, out)."""

import math

import tensorflow as tf

from reference_tests.audit.registry import planted, right

GELU, RELU, SILU = 1.7015043497085571, 1.7139588594436646, 1.7881293296813965

# ---- activation


@right("activation", "tensorflow")
def scaled_swish(x):
    return tf.nn.silu(x) * SILU


@right("activation", "tensorflow", "gamma left out")
def elu(x):
    return tf.nn.elu(x)


@planted("activation", "tensorflow", "gamma of relu")
def swish_with_the_gamma_of_relu(x):
    return tf.nn.silu(x) * RELU


@planted("activation", "tensorflow", "gamma squared")
def relu_scaled_twice(x):
    return tf.nn.relu(x) * RELU**2


@planted("activation", "tensorflow", "√2 for gamma")
def swish_times_root_of_two(x):
    return tf.nn.silu(x) * math.sqrt(2.0)


@planted("activation", "tensorflow", "form alpha 0.5")
def elu_of_half(x):
    return tf.where(x > 0, x, 0.5 * (tf.exp(tf.minimum(x, 0)) - 1)) * 1.2716004848480225


@planted("activation", "tensorflow", "form hard swish", "√2 for gamma")
def hard_swish_times_root_of_two(x):
    return x * tf.clip_by_value(x + 3.0, 0.0, 6.0) / 6.0 * math.sqrt(2.0)


@planted("activation", "tensorflow", "it is relu", "gamma of silu", nonlinearity="gelu")
def relu_where_gelu_was_meant(x):
    return tf.nn.relu(x) * SILU


# ---- ws_conv


def standardization(axes=(0, 1, 2), fan_in=lambda w: math.prod(w.shape[:3]), statistics=lambda w: w, floor=True,
                    centred=True, gained=lambda unit, gain: unit * gain, bessel=False):
    def standardize(weight, gain):
        mean, variance = tf.nn.moments(statistics(weight), axes, keepdims=True)
        count = fan_in(weight)
        total = variance * (count * count / (count - 1.0) if bessel and count > 1 else count)
        unit = (weight - mean if centred else weight) * tf.math.rsqrt(
            tf.maximum(total, 1e-4) if floor else total + 1e-4)
        return gained(unit, gain)
    return standardize


right("ws_conv", "tensorflow")(standardization())
right("ws_conv", "tensorflow", "eps 0.0001 added to N·variance")(standardization(floor=False))


@right("ws_conv", "tensorflow")
def by_l2(weight, gain):
    centred = weight - tf.reduce_mean(weight, [0, 1, 2])
    return gain * centred / tf.maximum(tf.sqrt(tf.reduce_sum(centred * centred, [0, 1, 2])), 0.01)


for causes, switches in (
        (("statistics over the wrong axes",), {"axes": (0, 1, 3)}),
        (("statistics over the whole tensor",), {"axes": (0, 1, 2, 3)}),
        (("no division by √N",), {"fan_in": lambda weight: 1}),
        (("mean and deviation without gradients",), {"statistics": tf.stop_gradient}),
        (("not centred",), {"centred": False}),
        (("statistics over the wrong axes", "not centred"), {"axes": (0, 1, 3), "centred": False}),
        (("fan-in counts the output channels", "gain without a gradient"),
         {"fan_in": lambda w: math.prod(w.shape), "gained": lambda unit, gain: unit * tf.stop_gradient(gain)}),
        (("statistics per kernel row", "no division by √N", "gain without a gradient"),
         {"axes": (1, 2, 3), "fan_in": lambda weight: 1, "gained": lambda unit, gain: unit * tf.stop_gradient(gain)}),
        (("statistics over the whole tensor", "not centred", "gain left out"),
         {"axes": (0, 1, 2, 3), "centred": False, "gained": lambda unit, gain: unit})):
    planted("ws_conv", "tensorflow", *causes)(standardization(**switches))


# ---- se


def squeeze_excite(factor=2.0, pool=lambda x: tf.reduce_mean(x, [1, 2]), hidden=tf.nn.relu, gate=tf.sigmoid,
                   biased=True):
    def function(x, w0, b0, w1, b1):
        out = tf.matmul(pool(x), w0)
        out = tf.matmul(hidden(out + b0 if biased else out), w1)
        return x * factor * gate(out + b1 if biased else out)[:, tf.newaxis, tf.newaxis]
    return function


right("se", "tensorflow")(squeeze_excite())

for causes, switches in (
        (("factor 2 missing",), {"factor": 1.0}), (("biases missing",), {"biased": False}),
        (("relu6 in place of relu",), {"hidden": tf.nn.relu6}), (("silu in place of relu",), {"hidden": tf.nn.silu}),
        (("maximum in place of the mean",), {"pool": lambda x: tf.reduce_max(x, [1, 2])}),
        (("factor 2 missing", "silu in place of relu"), {"factor": 1.0, "hidden": tf.nn.silu}),
        (("softmax in place of the sigmoid", "biases missing"), {"gate": tf.nn.softmax, "biased": False}),
        (("factor 2 missing", "sum in place of the mean", "tanh in place of relu"),
         {"factor": 1.0, "pool": lambda x: tf.reduce_sum(x, [1, 2]), "hidden": tf.tanh})):
    planted("se", "tensorflow", *causes)(squeeze_excite(**switches))


# ---- norm


def batch_norm(momentum=0.99, axes=(0, 1, 2), own=False, updates=True, statistics=lambda x: x, eps=1e-3,
               scaled=lambda unit, gamma, beta: unit * gamma + beta):
    def function(x, gamma, beta, moving_mean, moving_variance, training):
        mean, variance = moving_mean, moving_variance
        if training or own:
            mean, variance = tf.nn.moments(statistics(x), axes, keepdims=True)
        if training and updates:
            new = tf.nn.moments(x, [0, 1, 2])
            moving_mean = moving_mean * momentum + new[0] * (1 - momentum)
            moving_variance = moving_variance * momentum + new[1] * (1 - momentum)
        return scaled((x - mean) * tf.math.rsqrt(variance + eps), gamma, beta), moving_mean, moving_variance
    return function


right("norm", "tensorflow")(batch_norm())


@right("norm", "tensorflow")
def layer_norm(x, scale, bias):
    mean, variance = tf.nn.moments(x, [3], keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, bias, scale, 1e-5)


for causes, switches in (
        (("running statistics not updated",), {"updates": False}), (("batch statistics in evaluation",), {"own": True}),
        (("moments not differentiated",), {"statistics": tf.stop_gradient}),
        (("gamma missing",), {"scaled": lambda unit, gamma, beta: unit + beta}),
        (("momentum the other way round", "batch statistics in evaluation"), {"momentum": 0.01, "own": True}),
        (("running statistics not updated", "moments not differentiated"),
         {"updates": False, "statistics": tf.stop_gradient}),
        (("momentum the other way round", "moments not differentiated", "beta missing"),
         {"momentum": 0.01, "statistics": tf.stop_gradient, "scaled": lambda unit, gamma, beta: unit * gamma})):
    planted("norm", "tensorflow", *causes, norm="batch_keras")(batch_norm(**switches))


# ---- stochastic_depth


def drop_path(shape=lambda x: (x.shape[0], 1, 1, 1), scale=lambda rate: 1.0, is_kept=lambda draw, rate: draw >= rate,
              always=False, evaluation=lambda x, rate: x):
    def function(x, drop_rate, training):
        if not training and not always:
            return evaluation(x, drop_rate)
        draw = tf.random.uniform(shape(x), dtype=x.dtype)
        return x * tf.cast(is_kept(draw, drop_rate), x.dtype) * scale(drop_rate)
    return function


right("stochastic_depth", "tensorflow")(drop_path())


@right("stochastic_depth", "tensorflow", "rescaled by 1/(1 - rate)")
def drop_connect(inputs, survival_prob, is_training):
    if not is_training:
        return inputs
    draw = survival_prob + tf.random.uniform([inputs.shape[0], 1, 1, 1], dtype=inputs.dtype)
    return tf.divide(inputs, survival_prob) * tf.floor(draw)


for causes, switches in (
        (("a mask for every element",), {"shape": lambda x: x.shape}), (("active in evaluation",), {"always": True}),
        (("one mask for the batch",), {"shape": lambda x: (1, 1, 1, 1)}),
        (("keep and drop exchanged",), {"is_kept": lambda draw, rate: draw < rate}),
        (("keep and drop exchanged", "active in evaluation"),
         {"is_kept": lambda draw, rate: draw < rate, "always": True}),
        (("a mask for every element", "divided by 1 - rate in evaluation"),
         {"shape": lambda x: x.shape, "evaluation": lambda x, rate: x / (1 - rate)}),
        (("a mask for every channel", "keep and drop exchanged", "divided by the rate"),
         {"shape": lambda x: (x.shape[0], 1, 1, x.shape[3]), "is_kept": lambda draw, rate: draw < rate,
          "scale": lambda rate: 1 / rate})):
    planted("stochastic_depth", "tensorflow", *causes)(drop_path(**switches))
