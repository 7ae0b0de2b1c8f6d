"""What normalizations share: checks of their inputs, float32 beside half precision, sums over devices.

Images of float16 and bfloat16 are computed with in float32: moments, gamma and beta have that dtype, and only what is
returned for x is rounded to x's.

Used by: normalization.py, group_normalization.py, switchable_normalization.py. Fast paths: none.
Test: reference_tests/functional/test_normalization.py.
"""

from collections.abc import Callable

from ..backend import is_array, namespace
from ..backend.arrays import Array
from ..errors import InputError
from .checks import real_number, shown

JointSum = Callable[[Array], Array]  # the sum over all devices of an array that each of them has


def check_eps(eps: float) -> None:
    """InputError unless eps is above 0, so that a constant channel divides by something."""
    if not real_number(eps, "eps") > 0.0:
        raise InputError(f"eps: expected a number > 0, got {shown(eps)}")


def check_image(x: Array, name: str) -> None:
    """InputError unless x is (…, C) of floating numbers."""
    if x.ndim < 2 or getattr(x.dtype, "kind", "f") in "biu":
        raise InputError(f"{name}: expected x (…, C) of floating numbers, got {tuple(x.shape)} of {x.dtype}")


def check_channels(x: Array, name: str, **arrays: Array | None) -> None:
    """InputError unless all these are (C,) for x (…, C); None is left out."""
    wrong = {key: tuple(array.shape) for key, array in arrays.items()
             if array is not None and tuple(array.shape) != tuple(x.shape[-1:])}
    if wrong:
        key, shape = next(iter(wrong.items()))
        raise InputError(f"{name}: expected {', '.join(arrays)} ({x.shape[-1]},) for x {tuple(x.shape)}, got {key} "
                         f"{shape}")


def full_precision(x: Array) -> Array:
    """x itself, or its values in float32 where it is of float16 or bfloat16."""
    xp = namespace(x)
    return x if x.dtype == xp.float64 else xp.astype(x, xp.float32, copy=False)


def rounded(values: Array, like: Array) -> Array:
    """`values` in the dtype of `like`."""
    return namespace(values).astype(values, like.dtype, copy=False)


def over_devices(sums: Array, joint_sum: JointSum | None) -> Array:
    """joint_sum(sums), or `sums` where there is none; InputError where it returns another shape or dtype."""
    if joint_sum is None:
        return sums
    total = joint_sum(sums)
    if not is_array(total) or tuple(total.shape) != tuple(sums.shape) or total.dtype != sums.dtype:
        raise InputError(f"joint_sum: expected the sum over devices of {tuple(sums.shape)} of {sums.dtype}, got "
                         f"{shown(total)}")
    return total


def check_values(x: Array, name: str) -> None:
    """InputError unless there is something to take moments of."""
    if 0 in x.shape:
        raise InputError(f"{name}: expected at least one value, got x {tuple(x.shape)}")


def check_pixels(x: Array, name: str) -> None:
    """InputError unless there is something of each image, of any number of images, to take moments of."""
    if 0 in x.shape[1:]:
        raise InputError(f"{name}: expected at least one value of each image, got x {tuple(x.shape)}")


def check_joint_sum(joint_sum: JointSum | None) -> None:
    """InputError unless this is a function or None."""
    if joint_sum is not None and not callable(joint_sum):
        raise InputError(f"joint_sum: expected a function of an array or None, got {shown(joint_sum)}")
