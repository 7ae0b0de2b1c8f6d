"""Layers in NumPy: images are (N, H, W, C), weights (kh, kw, in, out) and (in, out)."""

import math

import numpy as np

from reference_tests.audit.registry import planted, right

GELU, RELU, SILU = 1.7015043497085571, 1.7139588594436646, 1.7881293296813965


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-np.clip(x, -700.0, 700.0)))


# ---- activation


def gelu(x):
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))


@right("activation", "numpy")
def scaled_gelu(x):
    return gelu(x) * GELU


@right("activation", "numpy")
def scaled_relu(x):
    return np.where(x > 0, x, 0 * x) * RELU


@planted("activation", "numpy", "gamma without subtracting the mean")
def he_relu(x):
    return np.maximum(x, 0) * np.sqrt(2.0)


@planted("activation", "numpy", "gamma of relu")
def gelu_with_the_gamma_of_relu(x):
    return gelu(x) * RELU


@planted("activation", "numpy", "gamma squared")
def swish_scaled_twice(x):
    return x * sigmoid(x) * SILU * SILU


@planted("activation", "numpy", "divided by gamma")
def swish_divided(x):
    return x * sigmoid(x) / SILU


@planted("activation", "numpy", "form x·sigmoid(1.702·x)", "gamma of relu")
def quick_gelu_with_the_gamma_of_relu(x):
    return x * sigmoid(1.702 * x) * RELU


@planted("activation", "numpy", "form hard swish", "gamma squared")
def hard_swish_scaled_twice(x):
    return x * np.clip(x + 3, 0, 6) / 6 * SILU**2


# ---- ws_conv


def standardization(axes=(0, 1, 2), ddof=0, centred=True, fan_in=lambda w: np.prod(w.shape[:3]), scale=None,
                    divisor=lambda total: np.sqrt(np.maximum(total, 1e-4))):
    """The function of (weight, gain)."""
    def standardize(weight, gain):
        mean, variance = weight.mean(axis=axes, keepdims=True), weight.var(axis=axes, ddof=ddof, keepdims=True)
        unit = (weight - mean if centred else weight) / divisor(variance * fan_in(weight))
        return scale(unit, gain) if scale else unit * gain
    return standardize


right("ws_conv", "numpy")(standardization())


@right("ws_conv", "numpy")
def on_a_matrix(weight, gain):
    """Normalized columns of the matrix of fan-in and outputs."""
    flat = weight.reshape(-1, weight.shape[-1])
    flat = flat - flat.sum(0) / len(flat)
    length = np.sqrt(np.einsum("io,io->o", flat, flat))
    return (flat * (np.ravel(gain) / np.maximum(length, 0.01))).reshape(weight.shape)


@right("ws_conv", "numpy", "eps 0.0001 added to N·variance")
def added(weight, gain):
    centred = weight - weight.mean((0, 1, 2))
    return gain * centred / np.sqrt(np.sum(centred**2, (0, 1, 2)) + 1e-4)


for causes, switches in (
        (("Bessel-corrected variance",), {"ddof": 1}),
        (("statistics per kernel row",), {"axes": (1, 2, 3)}),
        (("statistics over the whole tensor",), {"axes": None}),
        (("no division by √N",), {"fan_in": lambda weight: 1}),
        (("fan-in counts the output channels",), {"fan_in": lambda weight: weight.size}),
        (("fan-out in place of fan-in",), {"fan_in": lambda w: w.shape[0] * w.shape[1] * w.shape[3]}),
        (("fan-in without the kernel's pixels",), {"fan_in": lambda weight: weight.shape[2]}),
        (("not centred",), {"centred": False}),
        (("gain left out",), {"scale": lambda unit, gain: unit}),
        (("gain plus one",), {"scale": lambda unit, gain: unit * (1 + gain)}),
        (("Bessel-corrected variance", "fan-in without the kernel's pixels"),
         {"ddof": 1, "fan_in": lambda weight: weight.shape[2]}),
        (("statistics over the wrong axes", "gain left out"),
         {"axes": (0, 1, 3), "scale": lambda unit, gain: unit}),
        (("eps 0.0001 added to N·variance", "fan-in counts the output channels", "Bessel-corrected variance"),
         {"divisor": lambda total: np.sqrt(total + 1e-4), "fan_in": np.size, "ddof": 1}),
        (("eps 1e-05 floor of N·variance", "gain plus one", "not centred"),
         {"divisor": lambda total: np.sqrt(np.maximum(total, 1e-5)), "scale": lambda unit, gain: unit * (1 + gain),
          "centred": False})):
    planted("ws_conv", "numpy", *causes)(standardization(**switches))


# ---- se


def squeeze_excite(factor=2.0, pool=lambda x: x.mean((1, 2)), hidden=lambda x: np.maximum(x, 0), gate=sigmoid,
                   biased=True):
    def function(x, weight0, bias0, weight1, bias1):
        out = hidden(pool(x) @ weight0 + (bias0 if biased else 0))
        return x * (factor * gate(out @ weight1 + (bias1 if biased else 0)))[:, None, None, :]
    return function


right("se", "numpy")(squeeze_excite())


@right("se", "numpy")
def with_einsum(inputs, w1, b1, w2, b2):
    area = inputs.shape[1] * inputs.shape[2]
    hidden = np.maximum(np.einsum("nhwc,cd->nd", inputs, w1) / area + b1, 0.0)
    return np.einsum("nhwc,nc->nhwc", inputs, 2.0 / (1.0 + np.exp(-(hidden @ w2 + b2))))


for causes, switches in (
        (("factor 2 missing",), {"factor": 1.0}),
        (("maximum in place of the mean",), {"pool": lambda x: x.max((1, 2))}),
        (("silu in place of relu",), {"hidden": lambda x: x * sigmoid(x)}), (("biases missing",), {"biased": False}),
        (("softmax in place of the sigmoid",), {"gate": lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)}),
        (("sum in place of the mean",), {"pool": lambda x: x.sum((1, 2))}),
        (("hard sigmoid in place of the sigmoid",), {"gate": lambda x: np.clip(x / 6 + 0.5, 0, 1)}),
        (("factor 2 missing", "tanh in place of relu"), {"factor": 1.0, "hidden": np.tanh}),
        (("biases missing", "maximum in place of the mean"), {"biased": False, "pool": lambda x: x.max((1, 2))}),
        (("factor 2 missing", "biases missing", "silu in place of relu"),
         {"factor": 1.0, "biased": False, "hidden": lambda x: x * sigmoid(x)}),
        (("maximum in place of the mean", "identity in place of relu", "factor √2 in place of 2"),
         {"pool": lambda x: x.max((1, 2)), "hidden": lambda x: x, "factor": 2**0.5})):
    planted("se", "numpy", *causes)(squeeze_excite(**switches))


# ---- norm


def batch_norm(axes=(0, 1, 2), ddof=0, keep=0.9, updates=True, own_in_evaluation=False, has_gamma=True,
               corrects=True, eps=1e-5):
    def function(x, gamma, beta, running_mean, running_var, training):
        mean, variance = running_mean, running_var
        if training or own_in_evaluation:
            mean, variance = x.mean(axes, keepdims=True), x.var(axes, ddof=ddof, keepdims=True)
        if training and updates:
            count = x.size // x.shape[-1]
            biased = np.ravel(x.var((0, 1, 2)))
            running_mean[...] = keep * running_mean + (1 - keep) * np.ravel(x.mean((0, 1, 2)))
            running_var[...] = keep * running_var + (1 - keep) * biased * (count / (count - 1) if corrects else 1.0)
        out = (x - mean) / np.sqrt(variance + eps)
        return (gamma * out if has_gamma else out) + beta
    return function


right("norm", "numpy")(batch_norm())
right("norm", "numpy", "running variance biased")(batch_norm(corrects=False))


@right("norm", "numpy")
def instance_norm(x, scale, offset, epsilon=1e-5):
    mean = np.mean(x, axis=(1, 2), keepdims=True)
    return (x - mean) * scale / np.sqrt(np.mean((x - mean) ** 2, axis=(1, 2), keepdims=True) + epsilon) + offset


for causes, switches in (
        (("normalized with the unbiased variance",), {"ddof": 1}), (("momentum the other way round",), {"keep": 0.1}),
        (("running statistics not updated",), {"updates": False}), (("gamma missing",), {"has_gamma": False}),
        (("batch statistics in evaluation",), {"own_in_evaluation": True}),
        (("eps missing",), {"eps": 0.0}),
        (("momentum the other way round", "gamma missing"), {"keep": 0.1, "has_gamma": False}),
        (("normalized with the unbiased variance", "batch statistics in evaluation"),
         {"ddof": 1, "own_in_evaluation": True}),
        (("running statistics not updated", "normalized with the unbiased variance", "gamma missing"),
         {"updates": False, "ddof": 1, "has_gamma": False}),
        (("momentum the other way round", "batch statistics in evaluation", "gamma missing"),
         {"keep": 0.1, "own_in_evaluation": True, "has_gamma": False})):
    planted("norm", "numpy", *causes)(batch_norm(**switches))


# ---- stochastic_depth


def drop_path(shape=lambda x: (len(x), 1, 1, 1), kept=lambda draws, rate: draws >= rate, scale=lambda rate: 1.0,
              evaluation=lambda x, rate: x):
    def function(x, drop_rate, is_training, rng):
        if not is_training:
            return evaluation(x, drop_rate) if evaluation else function(x, drop_rate, True, rng)
        return x * kept(rng.random(shape(x)), drop_rate) * scale(drop_rate)
    return function


right("stochastic_depth", "numpy")(drop_path())
right("stochastic_depth", "numpy", "rescaled by 1/(1 - rate)")(drop_path(scale=lambda rate: 1 / (1 - rate)))


@right("stochastic_depth", "numpy")
def by_bernoulli(x, keep_prob, training, rng):
    return x * rng.binomial(1, keep_prob, size=x.shape[0])[:, None, None, None] if training else x


for causes, switches in (
        (("a mask for every element",), {"shape": np.shape}), (("one mask for the batch",), {"shape": lambda x: ()}),
        (("keep and drop exchanged",), {"kept": lambda draws, rate: draws < rate}),
        (("divided by the rate",), {"scale": lambda rate: 1 / rate}), (("active in evaluation",), {"evaluation": None}),
        (("multiplied by 1 - rate in evaluation",), {"evaluation": lambda x, rate: x * (1 - rate)}),
        (("keep and drop exchanged", "a mask for every element"),
         {"kept": lambda draws, rate: draws < rate, "shape": np.shape}),
        (("multiplied by 1 - rate in evaluation", "rescaled by 1/(1 - rate)"),
         {"evaluation": lambda x, rate: x * (1 - rate), "scale": lambda rate: 1 / (1 - rate)}),
        (("a mask for every channel", "rescaled by 1/(1 - rate)", "active in evaluation"),
         {"shape": lambda x: (len(x), 1, 1, x.shape[3]), "scale": lambda rate: 1 / (1 - rate), "evaluation": None})):
    planted("stochastic_depth", "numpy", *causes)(drop_path(**switches))
