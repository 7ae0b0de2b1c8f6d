"""Clipping, averages and schedules in JAX: trees of arrays, transformations; weights are (kh, kw, in, out), (in, out).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from reference_tests.audit.registry import planted, right

# ---- agc


def unit_norm(x):
    if jnp.squeeze(x).ndim <= 1:
        return jnp.sqrt(jnp.sum(jnp.square(x)))
    return jnp.sqrt(jnp.sum(jnp.square(x), axis=tuple(range(x.ndim - 1)), keepdims=True))


def by_stored_rank(x):
    axes = None if x.ndim <= 1 else tuple(range(x.ndim - 1))
    return jnp.sqrt(jnp.sum(jnp.square(x), axis=axes, keepdims=x.ndim > 1))


def along_outputs(x):
    return jnp.linalg.norm(x.ravel()) if jnp.squeeze(x).ndim <= 1 else jnp.linalg.norm(x, axis=-1, keepdims=True)


def clip_tree(norm=unit_norm, limit=lambda w, c, e: c * jnp.maximum(w, e), under=1e-6, is_left=lambda w: False,
              to=lambda g, largest, size: g * (largest / size)):
    def clip(grads, params, clipping=0.01, eps=1e-3):
        def one(g, w):
            if is_left(w):
                return g
            largest, size = limit(norm(w), clipping, eps), norm(g)
            return jnp.where(size > largest, to(g, largest, jnp.maximum(size, under or eps)), g)
        return jax.tree_util.tree_map(one, grads, params)
    return clip


right("agc", "jax")(clip_tree())


class Transformation(NamedTuple):
    init: Any
    update: Any


def transformation(clip, remembers=False):
    """The functions init and update of an optimizer."""
    def make(clipping=0.01, eps=1e-3):
        def update(updates, state, params=None):
            return clip(updates, state if remembers else params, clipping, eps), state
        return Transformation(lambda params: params if remembers else (), update)
    return make


right("agc", "jax", framework="jax")(transformation(clip_tree()))
planted("agc", "jax", "one norm for a whole tensor", framework="jax")(transformation(clip_tree(norm=jnp.linalg.norm)))
planted("agc", "jax", "eps left out", framework="jax")(transformation(clip_tree(limit=lambda w, c, e: c * w)))


@right("agc", "jax", "decides by the quotient with its floor")
def of_an_array(gradient, weight, clip_factor=0.01, eps=1e-3):
    largest = clip_factor * jnp.maximum(unit_norm(weight), eps)
    return gradient * jnp.minimum(largest / jnp.maximum(unit_norm(gradient), 1e-6), 1.0)


VECTOR = {"is_left": lambda w: jnp.squeeze(w).ndim <= 1}
for causes, switches in (
        (("units by the stored rank",), {"norm": by_stored_rank}), (("norms along the output axis",),
                                                                    {"norm": along_outputs}),
        (("eps added to the weight norm",), {"limit": lambda w, c, e: c * (w + e)}),
        (("eps a floor under both norms",), {"under": None}), (("biases and gains not clipped",), VECTOR),
        (("set to zero",), {"to": lambda g, largest, size: jnp.zeros_like(g)}),
        (("units by the stored rank", "eps left out"), {"norm": by_stored_rank, "limit": lambda w, c, e: c * w}),
        (("norms along the output axis", "biases and gains not clipped"), {"norm": along_outputs, **VECTOR}),
        (("norms along the output axis", "eps added to the weight norm", "biases and gains not clipped"),
         {"norm": along_outputs, "limit": lambda w, c, e: c * (w + e), **VECTOR}),
        (("one norm for a whole tensor", "eps a floor under both norms", "scalars not clipped"),
         {"norm": lambda x: jnp.linalg.norm(x.ravel()), "under": None, "is_left": lambda w: w.ndim == 0})):
    planted("agc", "jax", *causes)(clip_tree(**switches))


# ---- ema


def decay_at(step, decay):
    return jnp.minimum(decay, (1.0 + step) / (10.0 + step))


@right("ema", "jax")
def ema_update(avg, new, step, decay=0.9999):
    d = decay_at(step, decay)
    return jax.tree_util.tree_map(lambda a, n: d * a + (1 - d) * n, avg, new)


@right("ema", "jax")
@jax.jit
def incremental(ema_params, params, step, decay=0.9999):
    return ema_params + (1 - decay_at(step, decay)) * (params - ema_params)


@planted("ema", "jax", "no warm-up")
def without_warmup(avg, new, step, decay=0.9999):
    return jax.tree_util.tree_map(lambda a, n: decay * a + (1 - decay) * n, avg, new)


@planted("ema", "jax", "decay and 1 - decay exchanged")
def exchanged(avg, new, step, decay=0.9999):
    d = decay_at(step, decay)
    return d * new + (1 - d) * avg


@planted("ema", "jax", "max in place of min")
def larger(avg, new, step, decay=0.9999):
    d = jnp.maximum(decay, (1.0 + step) / (10.0 + step))
    return d * avg + (1 - d) * new


LAST = {}


@planted("ema", "jax", "one update behind")
def never_the_newest(avg, new, step, decay=0.9999):
    d, before = decay_at(step, decay), LAST.get("weights", avg) if step else avg
    LAST["weights"] = new
    return d * avg + (1 - d) * before


@planted("ema", "jax", "decay and 1 - decay exchanged", "warm-up (2 + t)/(11 + t)")
def exchanged_and_counted_from_one(avg, new, step, decay=0.9999):
    d = decay_at(step + 1, decay)
    return d * new + (1 - d) * avg


# ---- schedule


def cosine(progress):
    return 0.5 * (1 + jnp.cos(jnp.pi * progress))


def schedule(warm=lambda t, w: t / w, decay=cosine, start=1, end=0.0, span=0):
    def make(peak_value, warmup_steps, total_steps):
        def at(count):
            progress = (count - start * warmup_steps) / (total_steps - start * warmup_steps + span * warmup_steps)
            after = peak_value * (end + (1 - end) * decay(jnp.clip(progress, 0.0, 1.0)))
            return jnp.where(count < warmup_steps, peak_value * warm(count, jnp.maximum(warmup_steps, 1)), after)
        return at
    return make


right("schedule", "jax", framework="jax")(schedule())


@right("schedule", "jax")
def create_learning_rate_fn(base_learning_rate, warmup_steps, total_steps):
    def warmed(step):
        return base_learning_rate * step / warmup_steps

    def falling(step):
        return base_learning_rate * cosine((step - warmup_steps) / (total_steps - warmup_steps))
    return lambda step: jax.lax.cond(step < warmup_steps, warmed, falling, jnp.asarray(step, jnp.float64))


for causes, switches in (
        (("cosine over all steps",), {"start": 0}), (("cosine as long as all steps",), {"span": 1}),
        (("straight decay",), {"decay": lambda p: 1 - p}), (("ends at 0.01 of the peak", "peak during the warm-up"),
                                                           {"end": 0.01, "warm": lambda t, w: cosine(0 * t)}),
        (("quadratic decay", "cosine over all steps"), {"decay": lambda p: (1 - p) ** 2, "start": 0}),
        (("quadratic warm-up", "cosine as long as all steps"), {"warm": lambda t, w: (t / w) ** 2, "span": 1}),
        (("quarter of a cosine", "quadratic warm-up", "ends at 0.1 of the peak"),
         {"decay": lambda p: jnp.cos(jnp.pi * p / 2), "warm": lambda t, w: (t / w) ** 2, "end": 0.1})):
    planted("schedule", "jax", *causes, framework="jax")(schedule(**switches))
