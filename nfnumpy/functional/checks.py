"""Checks of the options that formulas share: whole numbers, pairs of them, real numbers, axes. All raise InputError."""

import operator
from collections.abc import Sequence
from typing import Any

from ..errors import InputError


def as_whole_number(value: Any) -> int | None:
    """`value` as an int if it is a whole number of any kind (int, np.int64, …), else None; a bool is not one."""
    if type(value) is int:
        return value
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def whole_number(value: Any, name: str, *, least: int | None = None) -> int:
    """`value` as an int; InputError, with the option's `name`, unless it is a whole number of at least `least`."""
    number = as_whole_number(value)
    if number is None or least is not None and number < least:
        bound = "" if least is None else f" ≥ {least}"
        raise InputError(f"{name}: expected a whole number{bound}, got {value!r}")
    return number


def pair(value: int | Sequence[int], name: str) -> tuple[int, int]:
    """A positive whole number, or a pair of them, as a pair; InputError says which `name` was wrong."""
    values = tuple(value) if isinstance(value, Sequence) else (value, value)
    numbers = [as_whole_number(item) for item in values]
    if len(numbers) != 2 or any(number is None or number < 1 for number in numbers):
        raise InputError(f"{name}: expected a positive whole number or a pair of them, got {value!r}")
    return numbers[0], numbers[1]
