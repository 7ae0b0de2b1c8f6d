"""How far rounding may take a target: measured on the reference itself in float32, scaled to the target's precision.

The reference is computed twice on the same problem, in float64 and in float32. The distance is what the roundings of
this very computation, of this very size, do; another order of the same additions does as much, give or take. In another
precision it is scaled by the ratio of the epsilons. A target may err `LEEWAY` times as far, and never has to be better
than `LEEWAY` epsilons of a tensor's largest magnitude, or of the largest magnitude that was added up to make it, where
a kind knows that they cancel.
"""

import numpy as np

LEEWAY = 8.0
COARSEST_FIRST = ("bfloat16", "float16", "float32", "float64")


def epsilon(precision):
    """The distance from 1 to the next number."""
    return {"bfloat16": 2.0**-7, "float16": 2.0**-10}.get(precision) or float(np.finfo(precision).eps)


def distance(got, expected, scale=0.0):
    """The largest difference relative to the largest magnitude expected, or to `scale` if that is larger.

    Infinite for another shape, or for infinities and NaNs in other places.
    """
    got, expected = (np.asarray(array, dtype=np.float64) for array in (got, expected))
    if got.shape != expected.shape or not np.array_equal(np.isfinite(got), np.isfinite(expected)):
        return float("inf")
    finite = np.isfinite(expected)
    if not finite.any():
        return 0.0
    scale = max(scale, float(np.max(np.abs(expected[finite]))))
    difference = float(np.max(np.abs(got[finite] - expected[finite])))
    return difference / scale if scale else (0.0 if difference == 0.0 else float("inf"))


def allowed(expected, in_float32, scales, precision):
    """By name, the distance that rounding explains, from the reference in float64 and the same in float32."""
    ratio = epsilon(precision) / epsilon("float32")
    apart = {name: distance(in_float32[name], array, scales.get(name, 0.0)) for name, array in expected.items()}
    return {name: LEEWAY * max(epsilon(precision), ratio * (far if np.isfinite(far) else 1.0))
            for name, far in apart.items()}
