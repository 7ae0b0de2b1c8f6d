"""The errors that rounding explains in the tensors of a network.

Gradients of single numbers and of biases are sums whose terms cancel: how much is left, and how exactly, depends on
chance. So a gradient's error is relative to the largest magnitude in its family (weights, gains, biases, skip gains),
for skip gains also to the size of the sums; and its limit is the largest that rounding explains in that family. In the
backward pass every convolution adds in an order of its own, over images, pixels and channels, and such errors add up
as a random walk: the limits of gradients grow with the root of the number of convolutions. In float64, where no mistake
is as small, those of the forward pass grow with the root of the number of blocks, too.
"""

from collections.abc import Mapping

import numpy as np

from .. import tolerance
from .reference_run import STEP

LEAVES = ("weight", "gain", "bias", "skip_gain", "gamma", "beta", "scale")
STRETCH = 2.0 * STEP["lr"] * (1.0 + STEP["momentum"])  # of a gradient's error in a step; clipping only shortens it
SMALLEST_SCALE = 1e-30


def family(name: str) -> str:
    """What a tensor shares its scale with: a gradient by its parameter's last word, the loss with the logits."""
    start, _, parameter = name.partition(" of ")
    leaf = parameter.rpartition(".")[2]
    if start == "gradient" and leaf in LEAVES:
        return f"{start} of {leaf}"
    if start == "statistics":
        return f"{start} of {parameter.rpartition('.')[0]}"
    return "logits" if name == "loss" else name


def scales(reference: Mapping[str, np.ndarray], sums: Mapping[str, float]) -> dict[str, float]:
    """{name: the largest magnitude of its family}; `sums`: the size of the terms that cancel, by name."""
    largest: dict[str, float] = {}
    for name, size in sums.items():
        largest[family(name)] = max(largest.get(family(name), 0.0), size)
    for name, array in reference.items():
        finite = np.abs(array[np.isfinite(array)]) if array.ndim else np.abs(array)
        largest[family(name)] = max(largest.get(family(name), 0.0), float(np.max(finite, initial=0.0)))
    return {name: largest[family(name)] for name in reference}


def allowed(reference: Mapping[str, np.ndarray], in_float32: Mapping[str, np.ndarray], precision: str,
            sums: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """({name: relative error that rounding explains}, scales), from the reference in float64 and in float32.

    sums: the size of the terms that cancel, by name, where it is known.
    """
    scale_of = scales(reference, sums)
    convolutions = sum(name.startswith("gradient of") and array.ndim == 4 for name, array in reference.items())
    walk = max(1, convolutions)**0.5
    steps = [name for name in reference if name.startswith("step of ")]
    own = tolerance.allowed({name: array for name, array in reference.items() if name not in steps}, in_float32,
                            scale_of, precision)
    pooled: dict[str, float] = {}
    for name, error in own.items():
        pooled[family(name)] = max(pooled.get(family(name), 0.0), error)
    forward = sum(name.startswith("blocks.") for name in reference)**0.5 if precision == "float64" else 1.0
    limits = {name: pooled[family(name)] * (walk if name.startswith("gradient of") else max(1.0, forward))
              for name in own}
    for name in steps:
        gradient = name.replace("step", "gradient", 1)
        shift = STRETCH * limits[gradient] * scale_of[gradient]
        limits[name] = tolerance.LEEWAY * tolerance.epsilon(precision) + shift / max(scale_of[name], SMALLEST_SCALE)
    return limits, scale_of
