"""Clipping, averages and schedules in NumPy and plain Python; weights are (kh, kw, in, out) and (in, out)."""

import math

import numpy as np

from reference_tests.audit.registry import planted, right

# ---- agc


def unit_norm(x):
    if sum(size > 1 for size in np.shape(x)) <= 1:
        return np.sqrt(np.sum(x * x))
    return np.sqrt(np.sum(x * x, axis=tuple(range(x.ndim - 1)), keepdims=True))


def whole(x):
    return np.linalg.norm(np.ravel(x))


def by_stored_rank(x):
    return whole(x) if x.ndim <= 1 else np.sqrt(np.sum(x * x, axis=tuple(range(x.ndim - 1)), keepdims=True))


def first_axis_kept(x):
    """As for PyTorch's weights."""
    if max(np.shape(x), default=1) == np.size(x):
        return whole(x)
    return np.sqrt(np.sum(x * x, axis=tuple(range(1, x.ndim)), keepdims=True))


def magnitudes(x):
    axes = tuple(range(x.ndim - 1)) if max(np.shape(x), default=1) < np.size(x) else None
    return np.sum(np.abs(x), axis=axes, keepdims=True)


def clipping_function(norm=unit_norm, limit=lambda w, c, e: c * np.maximum(w, e), spares=lambda x: False,
                      longer=np.greater, length=None):
    def clip(grad, param, clipping=0.01, eps=1e-3):
        if spares(param):
            return grad
        largest, size = limit(norm(param), clipping, eps), norm(grad)
        to = largest if length is None else length(largest, clipping)
        return np.where(longer(size, largest), grad * (to / np.maximum(size, 1e-6)), grad)
    return clip


right("agc", "numpy")(clipping_function())


@right("agc", "numpy")
def clip_by_columns(param, grad, clip=0.01, eps=1e-3):
    def norm(a):
        a = np.asarray(a)
        return np.linalg.norm(a.ravel() if a.size == max(a.shape or (1,)) else a.reshape(-1, a.shape[-1]), axis=0)
    limit, size = np.maximum(norm(param), eps) * clip, norm(grad)
    return np.where(size > limit, grad * (limit / np.maximum(size, 1e-6)), grad)


@right("agc", "numpy", "decides by the quotient with its floor")
def a_dict_of_gradients(grads, params, lam=0.01, eps=1e-3):
    return {name: grad * np.minimum(1, lam * np.maximum(unit_norm(params[name]), eps)
                                    / np.maximum(unit_norm(grad), 1e-6)) for name, grad in grads.items()}


ROW, INPUTS = "convolutions by kernel row", "norms over the input axis of linear layers"
for causes, switches in (
        (("one norm for a whole tensor",), {"norm": whole}), (("units by the stored rank",), {"norm": by_stored_rank}),
        (("eps added to the weight norm",), {"limit": lambda w, c, e: c * (w + e)}),
        (("eps left out",), {"limit": lambda w, c, e: c * w}),
        (("eps a floor under the limit",), {"limit": lambda w, c, e: np.maximum(c * w, e)}),
        (("clipping and eps exchanged",), {"limit": lambda w, c, e: e * np.maximum(w, c)}),
        (("biases and gains not clipped",), {"spares": lambda x: max(x.shape, default=1) == x.size}),
        (("scalars not clipped",), {"spares": lambda x: x.ndim == 0}), (("L1 norm",), {"norm": magnitudes}),
        (("brought to lambda",), {"length": lambda largest, c: np.full_like(largest, c)}),
        (("comparison reversed",), {"longer": np.less}),
        ((ROW, INPUTS), {"norm": first_axis_kept}),
        (("eps added to the weight norm", "units by the stored rank"),
         {"norm": by_stored_rank, "limit": lambda w, c, e: c * (w + e)}),
        (("biases and gains not clipped", "eps left out"),
         {"spares": lambda x: max(x.shape, default=1) == x.size, "limit": lambda w, c, e: c * w}),
        ((ROW, INPUTS, "scalars not clipped"), {"norm": first_axis_kept, "spares": lambda x: x.ndim == 0}),
        (("one norm for a whole tensor", "eps added to the weight norm", "biases and gains not clipped"),
         {"norm": whole, "limit": lambda w, c, e: c * (w + e), "spares": lambda x: max(x.shape, default=1) == x.size})):
    planted("agc", "numpy", *causes)(clipping_function(**switches))


# ---- ema


@right("ema", "numpy")
def update_average(average, value, num_updates, decay=0.9999):
    decay = np.minimum(decay, (1 + num_updates) / (10 + num_updates))
    return average - (1 - decay) * (average - value)


@right("ema", "numpy", "warm-up (2 + t)/(11 + t)")
def counts_from_one(average, value, step, decay=0.9999):
    step = step + 1
    decay = min(decay, (1 + step) / (10 + step))
    return decay * average + (1 - decay) * value


@planted("ema", "numpy", "no warm-up")
def constant(average, value, step, decay=0.9999):
    return average * decay + value * (1 - decay)


@planted("ema", "numpy", "decay and 1 - decay exchanged")
def exchanged(average, value, step, decay=0.9999):
    decay = min(decay, (1 + step) / (10 + step))
    return (1 - decay) * average + decay * value


@planted("ema", "numpy", "max in place of min")
def larger(average, value, step, decay=0.9999):
    decay = max(decay, (1 + step) / (10 + step))
    return decay * average + (1 - decay) * value


@planted("ema", "numpy", "decay not limited")
def unlimited(average, value, step, decay=0.9999):
    decay = (1 + step) / (10 + step)
    return decay * average + (1 - decay) * value


@planted("ema", "numpy", "decay and 1 - decay exchanged", "no warm-up")
def constant_and_exchanged(average, value, step, decay=0.9999):
    average += decay * (value - average)


@planted("ema", "numpy", "decay and 1 - decay exchanged", "every other update")
def every_second_step_exchanged(average, value, step, decay=0.9999):
    if step % 2:
        return average
    updates = step // 2
    decay = min(decay, (1 + updates) / (10 + updates))
    return (1 - decay) * average + decay * value


# ---- schedule


def schedule(warm=lambda t, w: t / w, decay=lambda p: 0.5 * (1 + math.cos(math.pi * p)), start=True, end=0.0):
    def learning_rate(step, base_lr, warmup_steps, total_steps):
        if step < warmup_steps:
            return base_lr * warm(step, warmup_steps)
        first = warmup_steps if start else 0
        progress = min(1.0, (step - first) / max(1, total_steps - first))
        return base_lr * (end + (1 - end) * decay(progress))
    return learning_rate


def straight(progress):
    return 1.0 - progress


right("schedule", "numpy")(schedule())
right("schedule", "numpy", "warm-up (t + 1)/w")(schedule(warm=lambda t, w: (t + 1) / w))


@right("schedule", "numpy")
def with_numpy(step, peak, warmup_steps, total_steps):
    return np.where(step < warmup_steps, peak * step / np.maximum(warmup_steps, 1), peak / 2 * (1 + np.cos(
        np.pi * (step - warmup_steps) / np.maximum(total_steps - warmup_steps, 1))))


for causes, switches in (
        (("cosine over all steps",), {"start": False}), (("straight decay",), {"decay": straight}),
        (("quadratic warm-up",), {"warm": lambda t, w: (t / w) ** 2}), (("ends at 0.1 of the peak",), {"end": 0.1}),
        (("peak during the warm-up",), {"warm": lambda t, w: 1.0}), (("no decay",), {"decay": lambda progress: 1.0}),
        (("quarter of a cosine",), {"decay": lambda p: math.cos(math.pi * p / 2)}),
        (("cosine over all steps", "ends at 0.1 of the peak"), {"start": False, "end": 0.1}),
        (("straight decay", "quadratic warm-up"), {"decay": straight, "warm": lambda t, w: (t / w) ** 2}),
        (("warm-up (t + 1)/w", "cosine over all steps", "quadratic decay"),
         {"warm": lambda t, w: (t + 1) / w, "start": False, "decay": lambda p: (1 - p) ** 2}),
        (("quadratic warm-up", "ends at 0.1 of the peak", "straight decay"),
         {"warm": lambda t, w: (t / w) ** 2, "end": 0.1, "decay": straight})):
    planted("schedule", "numpy", *causes)(schedule(**switches))
