"""How far rounding may take the tensors of a network.

Gradients of single numbers and of biases are sums whose terms cancel: how much is left, and how exactly, is a matter of
luck. So gradients are held against the largest of their kind (weights, gains, biases, skip gains), those of skip gains
also against the size of the sums; and what rounding may do is the worst that it does to any of that kind. On the way
back every convolution adds up in an order of its own, over images, pixels and channels, and such differences add up as
a random walk does: the leeway of gradients grows with the root of the number of convolutions.
"""

import numpy as np

from .. import tolerance
from .answers import STEP

KINDS = ("weight", "gain", "bias", "skip_gain")
STRETCH = 2.0 * STEP["lr"] * (1.0 + STEP["momentum"])  # of a gradient's error in a step; clipping only shortens it


def family(name):
    """What a tensor is pooled with: a gradient by the last word of its parameter's name, the loss with the logits."""
    start, of, parameter = name.partition(" of ")
    kind = parameter.rpartition(".")[2]
    return f"{start} of {kind}" if start == "gradient" and kind in KINDS else "logits" if name == "loss" else name


def scales(reference, sums):
    """{name: the largest magnitude of its family}; `sums`: those of what is added up, by name."""
    largest = {}
    for name, size in sums.items():
        largest[family(name)] = max(largest.get(family(name), 0.0), size)
    for name, array in reference.items():
        finite = np.abs(array[np.isfinite(array)]) if array.ndim else np.abs(array)
        largest[family(name)] = max(largest.get(family(name), 0.0), float(np.max(finite, initial=0.0)))
    return {name: largest[family(name)] for name in reference}


def allowed(reference, in_float32, precision, sums):
    """({name: relative error that rounding explains}, scales), from the reference in float64 and in float32.

    sums: how large what is added up is, by name, where it is known to cancel.
    """
    held = scales(reference, sums)
    walk = max(1, sum(name.startswith("gradient of") and name.endswith(".gain") for name in reference))**0.5
    own = tolerance.allowed({name: array for name, array in reference.items() if not name.startswith("step of ")},
                            in_float32, held, precision)
    pooled = {}
    for name, error in own.items():
        pooled[family(name)] = max(pooled.get(family(name), 0.0), error)
    limits = {name: pooled[family(name)] * (walk if name.startswith("gradient of") else 1.0) for name in own}
    for name in (name for name in reference if name.startswith("step of ")):
        gradient = name.replace("step", "gradient", 1)
        limits[name] = tolerance.LEEWAY * tolerance.epsilon(precision) \
            + STRETCH * limits[gradient] * held[gradient] / max(held[name], 1e-30)
    return limits, held
