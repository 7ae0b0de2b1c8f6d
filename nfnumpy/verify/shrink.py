"""Shrinking: the smallest input case that still shows a difference."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

MOST_STEPS = 200


def smallest(cases: Sequence[Any], outputs: Sequence[Any], smaller: Callable[[Any], Iterable[Any]],
             run: Callable[[Any], Any], agrees: Callable[[Any, Any], bool]) -> Any:
    """The smallest of `cases` that shows a difference, made smaller step by step while it shows one.

    outputs: the target's, case by case; smaller(case): cases a little smaller; run(case): the target's outputs for it;
    agrees(case, outputs): whether these are the reference's.
    """
    def shows(candidate):
        try:
            return not agrees(candidate, run(candidate))
        except Exception:  # the target cannot take so small an input
            return False

    case = min((case for case, output in zip(cases, outputs, strict=True) if not agrees(case, output)),
               key=lambda case: case.simplicity)
    for _ in range(MOST_STEPS):
        found = next((candidate for candidate in smaller(case) if shows(candidate)), None)
        if found is None:
            break
        case = found
    return case
