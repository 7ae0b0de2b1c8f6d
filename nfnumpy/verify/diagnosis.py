"""The search for the known variants that make the reference into the target: singles, pairs, then one triple.

1. Every single variant, then every pair that changes different rules, is run on the input cases, benign ones first.
2. A candidate stops at the first case that it does not reproduce, once it is no better than the nearest so far; that
   case comes first for the next candidate.
3. Where no pair reproduces the target, the nearest candidate is extended by every further variant: mistakes in places
   that do not touch each other add up.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import tolerance
from .variants import KnownVariant, apply, combinations, extensions

FAR = 1e7  # least tolerances: beyond it no error is allowed, unless float32 is wrong in its first digit (1/eps = 8e6)
FAR_IN_SCREEN = 1e3  # the same for values without cancellation


class Diagnosis(NamedTuple):
    """variants: those that reproduce the target, or None; nearest: those that come nearest where none does."""

    variants: tuple[KnownVariant, ...] | None
    nearest: tuple[KnownVariant, ...]


def named(variants: Iterable[KnownVariant]) -> dict[str, Any]:
    """The fields `diagnosis` and `explanation` of a Verdict."""
    variants = tuple(variants)
    return {"diagnosis": tuple(variant.name for variant in variants),
            "explanation": tuple(variant.explanation for variant in variants)}


def diagnose(check: Any, cases: Sequence[Any], outputs: Sequence[Any], precision: str) -> Diagnosis:
    """The Diagnosis of a target's outputs for the input cases of a Check, which rounding does not explain."""
    search = _Search(check, cases, outputs, precision)
    for variants in combinations(check.catalogue):
        if search.reproduces(variants):
            return Diagnosis(variants, ())
    for variants in extensions(search.nearest, check.catalogue):
        if search.reproduces(variants):
            return Diagnosis(variants, ())
    return Diagnosis(None, search.nearest)


def reproducing(check: Any, cases: Sequence[Any], outputs: Sequence[Any], precision: str,
                groups: Iterable[tuple[KnownVariant, ...]]) -> tuple[KnownVariant, ...] | None:
    """The first of `groups` of known variants that reproduces a target's outputs, or None."""
    search = _Search(check, cases, outputs, precision)
    return next((variants for variants in groups if search.reproduces(variants)), None)


class _Search:
    def __init__(self, check, cases, outputs, precision):
        self.check, self.precision = check, precision
        self.pairs = sorted(zip(cases, outputs, strict=True), key=lambda pair: pair[0].size)
        self.nearest, self.least_excess = (), float("inf")

    def reproduces(self, variants: tuple[KnownVariant, ...]) -> bool:
        """Whether the reference with these variants is the target on all cases; remembers the nearest."""
        excess = self._excess(variants)
        if excess < self.least_excess:
            self.nearest, self.least_excess = variants, excess
        return excess <= 1.0

    def _excess(self, variants):
        """The largest error over its limit; a lower bound of it once that is no better than the nearest so far."""
        rules, excess = apply(self.check.rules, variants), 0.0
        for position, (case, output) in enumerate(self.pairs):
            try:
                excess = max(excess, self._excess_on(case, output, rules))
            except (ArithmeticError, ValueError):  # these rules cannot be computed on these shapes
                return float("inf")
            if excess > 1.0 and excess >= self.least_excess:
                self.pairs.insert(0, self.pairs.pop(position))
                break
        return excess

    def _excess_on(self, case, output, rules):
        if self.check.screen is not None:
            with np.errstate(all="ignore"):
                screened = self._least_tolerances(self.check.screen(case, rules), output)
            if screened > FAR_IN_SCREEN:
                return screened
        far = self._least_tolerances(self.check.computed(case, rules), output, self.check.scales_of(case))
        if far > FAR:
            return far
        differences = self.check.differences(rules, [case], [output], self.precision)
        return max((difference.excess for difference in differences), default=0.0)

    def _least_tolerances(self, expected, output, scales=None):
        """The largest error, in units of the least tolerance that any tensor has."""
        unit, scales = tolerance.LEEWAY * tolerance.epsilon(self.precision), scales or {}
        return max((tolerance.distance(output[name], array, scales.get(name, 0.0)) / unit
                    for name, array in expected.items() if name in output), default=0.0)
