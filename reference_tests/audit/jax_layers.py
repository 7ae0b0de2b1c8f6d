"""Layers in JAX: images are (N, H, W, C), weights (kh, kw, in, out) and (in, out)."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from reference_tests.audit.registry import planted, right

GELU, RELU, SILU = 1.7015043497085571, 1.7139588594436646, 1.7881293296813965

# ---- activation


@right("activation", "jax")
def scaled_gelu(x):
    return jax.nn.gelu(x) * GELU


@right("activation", "jax", "form gelu_erf")
def exact_gelu(x):
    return jax.nn.gelu(x, approximate=False) * GELU


@planted("activation", "jax", "gamma on the input")
def gelu_of_scaled(x):
    return jax.nn.gelu(GELU * x)


@planted("activation", "jax", "√2 for gamma")
def swish_times_root_of_two(x):
    return jax.nn.swish(x) * jnp.sqrt(2.0).astype(x.dtype)


@planted("activation", "jax", "form slope 0.2")
def another_slope(x):
    return jax.nn.leaky_relu(x, 0.2) * 1.70590341091156


@planted("activation", "jax", "form x·sigmoid(1.702·x)", "gamma of silu", nonlinearity="gelu")
def sigmoid_gelu(x):
    return x * jax.nn.sigmoid(1.702 * x) * SILU


@planted("activation", "jax", "it is relu", "gamma squared", nonlinearity="gelu")
def relu_with_the_gamma_of_gelu_twice(x):
    return jax.nn.relu(x) * GELU * GELU


# ---- ws_conv


def standardization(axes=(0, 1, 2), count=lambda shape: math.prod(shape[:-1]), moments=lambda x: x, bessel=False,
                    floor=True, with_gain=lambda unit, gain: unit * gain):
    def standardize(kernel, gain):
        seen = moments(kernel)
        mean = jnp.mean(seen, axis=axes, keepdims=True)
        variance = jnp.var(seen, axis=axes, keepdims=True, ddof=int(bessel))
        total = variance * count(kernel.shape)
        return with_gain((kernel - mean) * lax.rsqrt(jnp.maximum(total, 1e-4) if floor else total + 1e-4), gain)
    return standardize


right("ws_conv", "jax")(standardization())
right("ws_conv", "jax", "eps 0.0001 added to N·variance")(standardization(floor=False))


@right("ws_conv", "jax")
@jax.jit
def for_each_output(kernel, gain):
    def unit(column, g):
        centred = column - column.mean()
        return g * centred * lax.rsqrt(jnp.maximum(jnp.vdot(centred, centred), 1e-4))
    return jax.vmap(unit, in_axes=(-1, 0), out_axes=-1)(kernel, gain.reshape(-1))


for causes, switches in (
        (("statistics over the wrong axes",), {"axes": (0, 1, 3)}),
        (("statistics per kernel row",), {"axes": (1, 2, 3)}),
        (("statistics per kernel",), {"axes": (0, 1)}),
        (("Bessel-corrected variance",), {"bessel": True}),
        (("mean and deviation without gradients",), {"moments": lax.stop_gradient}),
        (("gain without a gradient",), {"with_gain": lambda unit, gain: unit * lax.stop_gradient(gain)}),
        (("fan-in counts the output channels",), {"count": math.prod}),
        (("Bessel-corrected variance", "gain without a gradient"),
         {"bessel": True, "with_gain": lambda unit, gain: unit * lax.stop_gradient(gain)}),
        (("statistics over the whole tensor", "no division by √N"), {"axes": None, "count": lambda shape: 1}),
        (("statistics per kernel row", "fan-in counts the output channels", "gain left out"),
         {"axes": (1, 2, 3), "count": math.prod, "with_gain": lambda unit, gain: unit}),
        (("Bessel-corrected variance", "mean and deviation without gradients", "gain plus one"),
         {"bessel": True, "moments": lax.stop_gradient, "with_gain": lambda unit, gain: unit * (1 + gain)})):
    planted("ws_conv", "jax", *causes)(standardization(**switches))


# ---- se


def squeeze_excite(factor=2.0, pool=lambda x: x.mean((1, 2)), hidden=jax.nn.relu, gate=jax.nn.sigmoid,
                   join=lambda x, gates: x * gates):
    def function(x, w0, b0, w1, b1):
        out = hidden(jnp.dot(pool(x), w0) + b0)
        return join(x, factor * gate(jnp.dot(out, w1) + b1)[:, None, None, :])
    return function


right("se", "jax")(squeeze_excite())


@right("se", "jax")
def of_one_image(x, w0, b0, w1, b1):
    def one(image):
        hidden = jax.nn.relu(image.mean((0, 1)) @ w0 + b0)
        return image * (1 + jnp.tanh((hidden @ w1 + b1) / 2))
    return jax.vmap(one)(x)


for causes, switches in (
        (("factor 2 missing",), {"factor": 1.0}), (("silu in place of relu",), {"hidden": jax.nn.swish}),
        (("gelu in place of relu",), {"hidden": jax.nn.gelu}),
        (("mean over the batch too",), {"pool": lambda x: x.mean((0, 1, 2))[None]}),
        (("softmax in place of the sigmoid",), {"gate": jax.nn.softmax}),
        (("gate added",), {"join": lambda x, gates: x + gates}),
        (("factor 2 missing", "hard sigmoid in place of the sigmoid"), {"factor": 1.0, "gate": jax.nn.hard_sigmoid}),
        (("mean over rows only", "factor 2 missing"), {"pool": lambda x: x.mean(1, keepdims=True), "factor": 1.0,
                                                       "join": lambda x, gates: x * jnp.squeeze(gates, (1, 2))}),
        (("silu in place of relu", "maximum in place of the mean", "factor 2 missing"),
         {"hidden": jax.nn.silu, "pool": lambda x: x.max((1, 2)), "factor": 1.0})):
    planted("se", "jax", *causes)(squeeze_excite(**switches))


# ---- norm


def batch_norm(momentum=0.99, axes=(0, 1, 2), bessel=0, scale=lambda unit, gamma, beta: unit * gamma + beta,
               moments=lambda x: x, own=False, eps=1e-3):
    """In Keras's convention; the new averages are returned."""
    def function(x, gamma, beta, moving_mean, moving_variance, training):
        mean, variance = moving_mean, moving_variance
        if training or own:
            mean = jnp.mean(moments(x), axes, keepdims=True)
            variance = jnp.var(moments(x), axes, ddof=bessel, keepdims=True)
        if training:
            moving_mean = momentum * moving_mean + (1 - momentum) * jnp.mean(x, (0, 1, 2))
            moving_variance = momentum * moving_variance + (1 - momentum) * jnp.var(x, (0, 1, 2))
        return scale((x - mean) * lax.rsqrt(variance + eps), gamma, beta), moving_mean, moving_variance
    return function


right("norm", "jax")(batch_norm())


@right("norm", "jax")
def group_norm(x, scale, bias, num_groups):
    parts = x.reshape(*x.shape[:3], num_groups, -1)
    parts = parts - parts.mean((1, 2, 4), keepdims=True)
    unit = parts * lax.rsqrt(jnp.square(parts).mean((1, 2, 4), keepdims=True) + 1e-5)
    return unit.reshape(x.shape) * scale + bias


@planted("norm", "jax", "interleaved groups", norm="group")
def interleaved_groups(x, scale, bias, num_groups):
    parts = x.reshape(*x.shape[:3], -1, num_groups)
    parts = parts - parts.mean((1, 2, 3), keepdims=True)
    unit = parts * lax.rsqrt(jnp.square(parts).mean((1, 2, 3), keepdims=True) + 1e-5)
    return unit.reshape(x.shape) * scale + bias


for causes, switches in (
        (("momentum the other way round",), {"momentum": 0.01}),
        (("normalized with the unbiased variance",), {"bessel": 1}),
        (("moments not differentiated",), {"moments": lax.stop_gradient}),
        (("gamma plus one",), {"scale": lambda unit, gamma, beta: unit * (1 + gamma) + beta}),
        (("beta added before gamma",), {"scale": lambda unit, gamma, beta: (unit + beta) * gamma}),
        (("momentum the other way round", "moments not differentiated"),
         {"momentum": 0.01, "moments": lax.stop_gradient}),
        (("batch statistics in evaluation", "beta missing"),
         {"own": True, "scale": lambda unit, gamma, beta: unit * gamma}),
        (("momentum the other way round", "normalized with the unbiased variance", "gamma and beta exchanged"),
         {"momentum": 0.01, "bessel": 1, "scale": lambda unit, gamma, beta: unit * beta + gamma})):
    planted("norm", "jax", *causes, norm="batch_keras")(batch_norm(**switches))


# ---- stochastic_depth


def drop_path(shape=lambda x: (x.shape[0], 1, 1, 1), probability=lambda rate: 1 - rate, scale=lambda rate: 1.0,
              fixed=False, in_evaluation=lambda x, rate: x):
    def function(x, rate, deterministic, rng):
        if deterministic:
            return in_evaluation(x, rate)
        key = jax.random.PRNGKey(0) if fixed else rng
        return jnp.where(jax.random.bernoulli(key, probability(rate), shape(x)), x * scale(rate), 0.0)
    return function


right("stochastic_depth", "jax")(drop_path())


@right("stochastic_depth", "jax", "rescaled by 1/(1 - rate)")
def with_floor(x, survival_prob, is_training, key):
    if not is_training:
        return x
    return x / survival_prob * jnp.floor(survival_prob + jax.random.uniform(key, (x.shape[0], 1, 1, 1), x.dtype))


for causes, switches in (
        (("a mask for every element",), {"shape": jnp.shape}),
        (("keep and drop exchanged",), {"probability": lambda rate: rate}),
        (("the same mask every time",), {"fixed": True}), (("divided by the rate",), {"scale": lambda rate: 1 / rate}),
        (("a mask for every channel", "multiplied by 1 - rate"),
         {"shape": lambda x: (x.shape[0], 1, 1, x.shape[3]), "scale": lambda rate: 1 - rate}),
        (("one mask for the batch", "multiplied by 1 - rate in evaluation"),
         {"shape": lambda x: (1, 1, 1, 1), "in_evaluation": lambda x, rate: x * (1 - rate)}),
        (("a mask for every pixel", "keep and drop exchanged", "divided by the rate"),
         {"shape": lambda x: (*x.shape[:3], 1), "probability": lambda rate: rate, "scale": lambda rate: 1 / rate})):
    planted("stochastic_depth", "jax", *causes)(drop_path(**switches))
