"""Targets without effect, whatever they are to compute: their input comes back, or nothing but zeros, or one number."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .variants import KnownVariant

RETURNED = KnownVariant("input returned as it is", {}, "What is given is returned unchanged.")
ZEROS = KnownVariant("nothing but zeros", {}, "The result is zero whatever is given.")
CONSTANT = KnownVariant("always the same number", {}, "The result is the same number whatever is given.")
RESULTS = ("output", "standardized weight", "rate during warm-up", "average after update 1")
GIVEN = ("x", "weight", "initial", "peak")


def without_effect(cases: Sequence[Any], outputs: Sequence[Mapping[str, np.ndarray]]) -> KnownVariant | None:
    """What such a target does, by its first result in all input cases; None for any other."""
    name = next((name for name in RESULTS if any(name in output for output in outputs)), RESULTS[0])
    pairs = [(case, output[name]) for case, output in zip(cases, outputs, strict=True)
             if name in output and output[name].size]
    if not pairs:
        return None
    if all(not array.any() for _, array in pairs):
        return ZEROS
    if all(_is_returned(case, array) for case, array in pairs):
        return RETURNED
    first = pairs[0][1].flat[0]
    return CONSTANT if all((array == first).all() for _, array in pairs) else None


def _is_returned(case, array):
    return any(case.arrays[name].shape == array.shape and np.array_equal(case.arrays[name], array)
               for name in GIVEN if name in case.arrays)
