"""Checking the fields of a dataclass, such as a model's configuration, against their annotations and ranges.

Used by: models/config.py, training/options.py. Test: reference_tests/models/test_validation.py.
"""

import dataclasses
import functools
import math
import numbers
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .errors import InputError


@dataclasses.dataclass(frozen=True)
class Interval:
    """The finite numbers from `least` to `greatest`; with_least, with_greatest: whether the ends belong to it."""

    least: float
    greatest: float = math.inf
    with_least: bool = True
    with_greatest: bool = False

    def __contains__(self, value: float) -> bool:
        above = value >= self.least if self.with_least else value > self.least
        below = value <= self.greatest if self.with_greatest else value < self.greatest
        return above and below and abs(value) <= sys.float_info.max

    def __str__(self) -> str:
        start = f"from {self.least:g}" if self.with_least else f"above {self.least:g}"
        if self.greatest == math.inf:
            return f"{start} up" if self.with_least else start
        if self.with_greatest:
            return f"{start} to {self.greatest:g}"
        return f"{start} up to, not including, {self.greatest:g}"


POSITIVE = Interval(0.0, with_least=False)
NOT_NEGATIVE = Interval(0.0)
SHARE = Interval(0.0, 1.0)  # 1 is not included: a rate of 1 would drop everything


def check_fields(record: Any, intervals: Mapping[str, Interval], choices: Mapping[str, Sequence[Any]], *,
                 describe: Callable[[str, Any], str] | None = None, none: str = "None") -> None:
    """InputError unless every field of the dataclass instance `record` has its annotated type and a usable value.

    Types: bool, int, float (an int will do), str, tuple[T, ...], and unions of these with None. A bool is no number.
    A list becomes a tuple where the annotation is one, as JSON has no tuples; a tuple must not be empty. NumPy's
    numbers become Python's.
    intervals: name -> the Interval of the number, or of each number of the tuple; choices: name -> the allowed values.
    A value of None, where the annotation admits it, is in every interval and among all choices.
    describe(name, value): how the message names the field, by default "CLASS: NAME=VALUE"; none: how it names None.
    """
    describe = describe or (lambda name, value: f"{type(record).__name__}: {name}={value!r}")
    kind: Any = type(record)
    for name, hint in _hints(kind).items():
        value = getattr(record, name)
        plain = _plain(value, hint)
        if plain is not value:
            value = plain
            object.__setattr__(record, name, value)
        if not _matches(value, hint):
            raise InputError(f"{describe(name, value)}: expected {_type_name(hint, none)}")
        if name in choices and value is not None and value not in choices[name]:
            allowed = [none if choice is None else str(choice) for choice in choices[name]]
            raise InputError(f"{describe(name, value)}: expected {' or '.join(allowed)}")
        interval = intervals.get(name)
        if interval is not None and value is not None and not _all_within(value, interval):
            alternative = f" or {none}" if type(None) in typing.get_args(hint) else ""
            raise InputError(f"{describe(name, value)}: expected {_noun(hint)} {interval}{alternative}")


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """name -> annotation of every field of the dataclass `kind`, also where annotations are strings."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _plain(value: Any, hint: Any) -> Any:
    """`value` in a type that JSON has: numbers of other kinds, such as NumPy's, as int or float; lists as tuples."""
    if isinstance(value, (list, tuple)) and not _matches(value, hint):
        return tuple(_plain(item, hint) for item in value)
    if isinstance(value, (int, float)) or not isinstance(value, numbers.Real):
        return value
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _matches(value: Any, hint: Any) -> bool:
    """Whether `value` has the type `hint`."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_matches(value, part) for part in arguments)
    if typing.get_origin(hint) is tuple:
        return isinstance(value, tuple) and len(value) > 0 and all(_matches(item, arguments[0]) for item in value)
    if isinstance(value, bool):
        return hint is bool
    accepted = (int, float) if hint is float else hint
    return isinstance(value, accepted)


def _type_name(hint: Any, none: str) -> str:
    """The type `hint` as a message names it, such as "int", "tuple of int" or "off or float"."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_type_name(part, none) for part in arguments)
    if typing.get_origin(hint) is tuple:
        return f"tuple of {_type_name(arguments[0], none)}"
    return none if hint is type(None) else hint.__name__


def _noun(hint: Any) -> str:
    """What a value of the type `hint` is called: "a number", "a whole number", or the plural for a tuple."""
    whole = "" if float in _leaves(hint) else "whole "
    plural = any(typing.get_origin(part) is tuple for part in (hint, *typing.get_args(hint)))
    return f"{whole}numbers" if plural else f"a {whole}number"


def _leaves(hint: Any) -> set[Any]:
    """The types inside `hint`, which may be nested; of a plain type, that type."""
    arguments = [part for part in typing.get_args(hint) if part is not Ellipsis]
    return set().union(*map(_leaves, arguments)) if arguments else {hint}


def _all_within(value: Any, interval: Interval) -> bool:
    """Whether `value`, a number or a tuple of numbers, lies in the interval."""
    items = value if isinstance(value, tuple) else (value,)
    return all(item in interval for item in items)
