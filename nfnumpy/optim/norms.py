"""L2 norms that neither overflow nor vanish where the norm is a number of the dtype.

An array whose squares would leave the range of its dtype is multiplied by a power of two first (see
functional/safe_range.py), which is exact; everywhere else that power is 1, and the norm is the plain √Σx², bit for bit.
float16 and bfloat16 are summed in float32.

Used by: agc.py, global_norm.py, and through it sam.py. Fast paths: optim/fast_numpy/, optim/fast_cupy/. Kernel:
backend/kernels/optimizer.cu (`multiplier`). Test: reference_tests/optim/test_norms.py.
"""

from ..backend import namespace
from ..backend.arrays import Array
from ..errors import InputError
from ..functional.safe_range import multiplier, range_of


def widened(array: Array) -> Array:
    """The array itself, or, of float16 or bfloat16, its values in float32; InputError for other dtypes."""
    try:
        xp = namespace(array)
    except TypeError as error:
        raise InputError(f"norm: {error}") from None
    if array.dtype in (xp.float32, xp.float64):
        return array
    if getattr(array.dtype, "name", None) not in ("float16", "bfloat16"):
        raise InputError(f"norm: expected an array of real floating numbers, got {array.dtype}")
    return xp.astype(array, xp.float32)


def scaled_norm(array: Array, axes: tuple[int, ...] | None = None) -> tuple[Array, Array]:
    """(norm, by): the L2 norm of array·by, and the powers of two `by`, which are 1 where all squares are safe.

    array: float32 or float64; axes: None for one norm, (), else the axes to reduce, which stay with length 1. The norm
    of the array itself is norm/by. An array with an infinite entry has norm inf, one with NaN has NaN.
    """
    xp = namespace(array)
    keep = axes is not None
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
    xp = namespace(factor)
    one = xp.ones_like(factor)
    within = range_of(factor)
    is_large_enough = factor * xp.minimum(by, one) >= within.smallest_normal
    is_small_enough = factor <= within.largest / xp.maximum(by, one)
    is_normal = is_large_enough & is_small_enough
    return xp.where(is_normal, one, by), factor * xp.where(is_normal, by, one)
