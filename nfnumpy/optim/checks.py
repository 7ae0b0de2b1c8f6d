"""Checks of the numbers that optimizers and schedules are given.

Used by: agc.py, ema.py, global_norm.py, sam.py, schedules.py, optimizer.py, rmsprop.py.
Test: reference_tests/optim/test_misuse.py.
"""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy

from ..backend import is_array
from ..backend.arrays import Array
from ..errors import InputError
from ..functional.checks import shown


def is_finite_number(value: Any) -> bool:
    """Whether `value` is a real number of any kind that a float can represent: not infinite, not NaN, not 10⁴⁰⁰."""
    try:
        return isinstance(value, numbers.Real) and math.isfinite(value)
    except OverflowError:
        return False


def _is_array_or_scalar(value):
    return is_array(value) or isinstance(value, numpy.generic)


def check_pairs(first: Sequence[Array], second: Sequence[Array], where: str) -> None:
    """InputError unless `first` and `second` are lists of as many arrays, of the same shape in each place."""
    for arrays in (first, second):
        if not isinstance(arrays, (list, tuple)) or not all(map(_is_array_or_scalar, arrays)):
            raise InputError(f"{where}: expected two lists of arrays, got {shown(arrays)}")
    if [tuple(array.shape) for array in first] != [tuple(array.shape) for array in second]:
        raise InputError(f"{where}: expected two lists of arrays of the same shapes, got {len(first)} and "
                         f"{len(second)} arrays that differ")
