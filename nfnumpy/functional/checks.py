"""Checks of the options that formulas share: whole numbers, pairs of them, real numbers, axes. All raise InputError.

Used by: the formulas, autograd/operation.py, nn/, models/, optim/, datasets/, augment/, weights/, verify/.
Test: reference_tests/functional/test_misuse.py, test_windows.py.
"""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import DTypeLike

from ..backend import is_floating
from ..errors import InputError

LARGEST = 2**48  # what a whole number may be, either side of 0: products of several stay within 64 bits, or are refused
LONGEST_SHOWN = 80  # characters
Shape = tuple[int, ...]
Size = int | Sequence[int]  # a whole number, or a (vertical, horizontal) pair of them


def shown(value: Any) -> str:
    """`value` in an error message, in one short line: an array by its shape and dtype, anything else by its repr."""
    if hasattr(value, "dtype") and getattr(value, "ndim", None):
        return f"{type(value).__name__} {tuple(value.shape)} of {value.dtype}"
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN - 1] + "…"


def as_whole_number(value: Any) -> int | None:
    """`value` as an int if it is a whole number of any kind (int, np.int64, …), else None.

    A bool is not one, nor is a number beyond those of sizes and positions in memory.
    """
    if isinstance(value, bool):
        return None
    try:
        number = operator.index(value)
    except TypeError:
        return None
    return number if abs(number) <= LARGEST else None


def whole_number(value: Any, name: str, *, least: int | None = None) -> int:
    """`value` as an int; InputError, with the option's `name`, unless it is a whole number of at least `least`."""
    number = as_whole_number(value)
    if number is None or (least is not None and number < least):
        bound = "" if least is None else f" ≥ {least}"
        raise InputError(f"{name}: expected a whole number{bound}, got {shown(value)}")
    return number


def pair(value: Size, name: str) -> tuple[int, int]:
    """A positive whole number, or a pair of them, as a pair; InputError says which `name` was wrong."""
    if type(value) is int and 0 < value <= LARGEST:
        return value, value
    values = tuple(value) if isinstance(value, Sequence) else (value, value)
    numbers = [number for number in map(as_whole_number, values) if number is not None and number >= 1]
    if not len(numbers) == len(values) == 2:
        raise InputError(f"{name}: expected a positive whole number or a pair of them, got {shown(value)}")
    return numbers[0], numbers[1]


def real_number(value: Any, name: str) -> float:
    """`value` as a Python float; InputError, with the option's `name`, for what is no real number, and for NaN.

    Infinities are numbers here. A boolean is not one, nor is text that reads like one.
    """
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    is_real = is_number or (kind in ("f", "i", "u") and math.prod(value.shape) == 1)
    try:
        number = float(value) if is_real else math.nan
    except OverflowError:
        number = math.nan
    if number != number:
        raise InputError(f"{name}: expected a real number, got {shown(value)}")
    return number


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """`axis` (a number, several, or None for all) as different numbers from 0 to ndim - 1; InputError for others.

    The one value of an array without axes is taken along axis 0 or -1 too, as NumPy and PyTorch do: nothing is reduced.
    """
    if axis is None:
        return tuple(range(ndim))
    given = tuple(axis) if isinstance(axis, Sequence) and not isinstance(axis, str) else (axis,)
    axes = tuple(axis_of(one, max(ndim, 1)) for one in given)
    if len(set(axes)) != len(axes):
        raise InputError(f"axis: expected every axis once, got {shown(axis)}")
    return axes if ndim else ()


def axis_of(axis: Any, ndim: int, name: str = "axis") -> int:
    """One axis, counted from either end, as a number from 0 to ndim - 1; InputError for others."""
    number = as_whole_number(axis)
    if number is None or not -ndim <= number < ndim:
        bounds = f"a whole number from {-ndim} to {ndim - 1}" if ndim else "none, as there are no axes"
        raise InputError(f"{name}: expected {bounds}, got {shown(axis)}")
    return number % ndim


def sizes_of(shape: Any, name: str = "shape", *, least: int = 0) -> tuple[int, ...]:
    """`shape` (a number or several) as a tuple of whole numbers of at least `least`; InputError for others."""
    given = tuple(shape) if isinstance(shape, Sequence) and not isinstance(shape, str) else (shape,)
    sizes = tuple(size for size in map(as_whole_number, given) if size is not None and size >= least)
    if len(sizes) != len(given):
        raise InputError(f"{name}: expected whole numbers ≥ {least}, got {shown(shape)}")
    return sizes


def floating_dtype(dtype: DTypeLike, name: str = "dtype") -> DTypeLike:
    """`dtype` as it is; InputError unless it is the name or type of floating numbers."""
    try:
        found = None if dtype is None else numpy.dtype(dtype)
    except (TypeError, ValueError):
        found = None
    if found is None or not is_floating(found):
        raise InputError(f"{name}: expected a type of floating numbers, got {shown(dtype)}")
    return dtype


def flag(value: Any, name: str) -> bool:
    """`value` as a bool; InputError unless it is True or False."""
    if isinstance(value, bool):
        return value
    if getattr(getattr(value, "dtype", None), "kind", None) == "b" and math.prod(value.shape) == 1:
        return bool(value)
    raise InputError(f"{name}: expected True or False, got {shown(value)}")
