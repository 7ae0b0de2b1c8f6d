"""The largest error that rounding explains: measured on the reference in float32, scaled to the target's precision.

The reference is computed twice on the same input case, in float64 and in float32. The distance between the two is the
rounding error of this computation at this size; another order of the same additions has an error of the same size. In
another precision it is scaled by the ratio of the epsilons. A target's error may be `LEEWAY` times as large, and may
always be `LEEWAY` epsilons of a tensor's largest magnitude, or of the largest magnitude of the terms that were added up
to it, where a check knows that they cancel.
"""

from collections.abc import Iterable, Mapping

import numpy as np

LEEWAY = 8.0
UNKNOWN = np.array(None)  # what a known variant cannot say, such as weights that a call must not change but changes
COARSEST_FIRST = ("bfloat16", "float16", "float32", "float64")


def epsilon(precision: str) -> float:
    """The distance from 1 to the next number of a precision."""
    return {"bfloat16": 2.0**-7, "float16": 2.0**-10}.get(precision) or float(np.finfo(precision).eps)


def coarsest(seen: Iterable[str]) -> str:
    """The coarsest precision among the dtypes `seen`; float64 where none of them is known."""
    return next((precision for precision in COARSEST_FIRST if precision in seen), "float64")


def distance(got: np.ndarray, expected: np.ndarray, scale: float = 0.0) -> float:
    """The largest difference, relative to the largest magnitude expected, or to `scale` where that is larger.

    Infinite where the shapes differ, or where an infinity or a NaN stands in one array and not the same in the other.
    An imaginary part is part of the difference. 0 where `expected` is UNKNOWN.
    """
    if expected is UNKNOWN:
        return 0.0
    got, expected = np.asarray(got), np.asarray(expected, dtype=np.float64)
    got = got if got.dtype.kind == "c" else got.astype(np.float64)
    if got.shape != expected.shape:
        return float("inf")
    finite = np.isfinite(got) & np.isfinite(expected)
    if not np.array_equal(got[~finite], expected[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    scale = max(scale, float(np.max(np.abs(expected[finite]))))
    difference = float(np.max(np.abs(got[finite] - expected[finite])))
    if scale == 0.0:
        return 0.0 if difference == 0.0 else float("inf")
    return difference / scale


def allowed(expected: Mapping[str, np.ndarray], in_float32: Mapping[str, np.ndarray], scales: Mapping[str, float],
            precision: str) -> dict[str, float]:
    """By name, the distance that rounding explains, from the reference in float64 and the same in float32.

    A tensor that float32 cannot hold (its distance is infinite) has a relative error of 1 there.
    """
    ratio = epsilon(precision) / epsilon("float32")
    limits = {}
    for name, array in expected.items():
        error = distance(in_float32[name], array, scales.get(name, 0.0))
        limits[name] = LEEWAY * max(epsilon(precision), ratio * (error if np.isfinite(error) else 1.0))
    return limits
