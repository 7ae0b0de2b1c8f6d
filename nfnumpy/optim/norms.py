"""L2 norms that neither overflow nor vanish where the norm is a number of the dtype.

The squares of large and of small numbers leave the range of their dtype long before the norm does. So an array is first
multiplied by a power of two, which is exact, wherever its largest magnitude is outside of a safe range (the idea of
Blue, 1978, "A portable Fortran program to find the Euclidean norm of a vector"); everywhere else that power is 1, and
the norm is the plain √Σx², bit for bit. float16 and bfloat16 are summed in float32.

Used by: agc.py, global_norm.py, and through it sam.py. Fast paths: optim/fast_numpy/, optim/fast_cupy/. Kernel:
backend/kernels/optimizer.cu (`multiplier`). Test: reference_tests/optim/test_norms.py.
"""

from typing import NamedTuple

from ..backend import namespace
from ..backend.arrays import Array
from ..errors import InputError


class SafeRange(NamedTuple):
    """From `least` to `greatest` magnitudes are squared as they are; below they are multiplied by `up`, above by `down`.

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


def _range_of(array):
    return RANGES["float64" if array.dtype == namespace(array).float64 else "float32"]


def widened(array: Array) -> Array:
    """The array itself, or, of float16 or bfloat16, its values in float32; InputError for other dtypes."""
    xp = namespace(array)
    if array.dtype in (xp.float32, xp.float64):
        return array
    if getattr(array.dtype, "name", None) not in ("float16", "bfloat16"):
        raise InputError(f"norm: expected an array of real floating numbers, got {array.dtype}")
    return xp.astype(array, xp.float32)


def multiplier(largest: Array) -> Array:
    """The power of two for arrays whose largest magnitudes are `largest` (float32 or float64), of the same shape.

    1 for magnitudes within the safe range and for NaN.
    """
    xp, one = namespace(largest), namespace(largest).ones_like(largest)
    within = _range_of(largest)
    return xp.where(largest > within.greatest, within.down * one, xp.where(largest < within.least, within.up * one, one))


def scaled_norm(array: Array, axes: tuple[int, ...] | None = None) -> tuple[Array, Array]:
    """(norm, by): the L2 norm of array·by, and the powers of two `by`, which are 1 where all squares are safe.

    array: float32 or float64; axes: None for one norm, (), else the axes to reduce, which stay with length 1. The norm
    of the array itself is norm/by. An array with an infinite entry has norm inf, one with NaN has NaN.
    """
    xp, keep = namespace(array), axes is not None
    if 0 in array.shape:
        nothing = xp.sum(array, axis=axes, keepdims=keep)
        return nothing, xp.ones_like(nothing)
    by = multiplier(xp.max(xp.abs(array), axis=axes, keepdims=keep))
    scaled = array * by
    return xp.sqrt(xp.sum(scaled * scaled, axis=axes, keepdims=keep)), by


def shrunk(norm: Array, by: Array) -> tuple[Array, Array]:
    """(norm/max(by, 1), min(by, 1)) of `scaled_norm`'s result: what is too small for squares is a norm again.

    So norm and bound are compared, and divided by each other, at a size where neither overflows.
    """
    xp = namespace(by)
    one = xp.ones_like(by)
    return norm / xp.maximum(by, one), xp.minimum(by, one)


def joined(by: Array, factor: Array) -> tuple[Array, Array]:
    """(by, factor) with the same product, by = 1 wherever the product is a normal number, so that one factor is enough.

    by: powers of two from `scaled_norm`. What both are to multiply is multiplied by `by` first.
    """
    xp, one = namespace(factor), namespace(factor).ones_like(factor)
    within = _range_of(factor)
    is_normal = factor * xp.minimum(by, one) >= within.smallest_normal
    is_normal = is_normal & (factor <= within.largest / xp.maximum(by, one))
    return xp.where(is_normal, one, by), factor * xp.where(is_normal, by, one)
