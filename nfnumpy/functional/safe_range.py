"""Powers of two that keep squares within the range of their dtype.

The squares of large and of small numbers leave the range of their dtype long before the root of their sum does. So
values are first multiplied by a power of two, which is exact, wherever their largest magnitude is outside a safe range
(the idea of Blue, 1978, "A portable Fortran program to find the Euclidean norm of a vector").

Used by: weight_standardization.py and its fast path, optim/norms.py.
Test: reference_tests/functional/test_safe_range.py.
"""

from typing import NamedTuple

from ..backend import namespace
from ..backend.arrays import Array


class SafeRange(NamedTuple):
    """Magnitudes from `least` to `greatest` are squared as they are, smaller ones times `up`, larger ones times `down`.

    Up to 2²⁷ squares of magnitudes within the range have a finite sum, and so they have after the multiplication;
    what is lost of smaller numbers beside a magnitude of `least` is below the rounding of the sum.
    """

    least: float
    greatest: float
    up: float
    down: float
    smallest_normal: float  # of the dtype
    largest: float


RANGES = {"float32": SafeRange(2.0**-50, 2.0**50, 2.0**100, 2.0**-80, 2.0**-126, (2 - 2.0**-23) * 2.0**127),
          "float64": SafeRange(2.0**-400, 2.0**400, 2.0**600, 2.0**-600, 2.0**-1022, (2 - 2.0**-52) * 2.0**1023)}


def range_of(array: Array) -> SafeRange:
    """The safe range of an array of float64, or else that of float32."""
    return RANGES["float64" if array.dtype == namespace(array).float64 else "float32"]


def multiplier(largest: Array) -> Array:
    """The power of two for values whose largest magnitudes are `largest` (float32 or float64), of the same shape.

    1 for magnitudes within the safe range and for NaN.
    """
    xp, one = namespace(largest), namespace(largest).ones_like(largest)
    within = range_of(largest)
    upwards = xp.where(largest < within.least, within.up * one, one)
    return xp.where(largest > within.greatest, within.down * one, upwards)
