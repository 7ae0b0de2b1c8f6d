"""What a target's outputs have in common with the reference under known variants: as a whole, and tensor by tensor."""

import functools
import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import tolerance
from .variants import KnownVariant, apply, extensions

FAR = 1e4  # times what rounding explains in the reference itself: beyond it no variant's rounding explains an error
FAR_IN_SCREEN = 1e3  # least tolerances, for values without cancellation
MOST_TRIED = 300  # combinations of variants that are found one by one
NEAREST_PAIRS = 12  # that are extended to triples
FEW = 2  # cases that rank pairs

Group = tuple[KnownVariant, ...]
Explained = Mapping[Group, frozenset[str]]


def without_conflict(group: Group) -> bool:
    """Whether no two of the variants change the same rule."""
    return not any(one.conflicts(other) for one, other in itertools.combinations(group, 2))


class Search:
    """The target's outputs, and which of their tensors the reference by its own rules does not reproduce."""

    def __init__(self, check: Any, cases: Sequence[Any], outputs: Sequence[Any], precision: str) -> None:
        self.check, self.precision = check, precision
        self.pairs = sorted(zip(cases, outputs, strict=True), key=lambda pair: pair[0].size)
        self.nearest: Group = ()
        self.least_excess = float("inf")
        self._singles: dict[Group, frozenset[str]] = {}

    @functools.cached_property
    def wrong(self) -> tuple[str, ...]:
        """The names of the tensors that differ."""
        names = dict.fromkeys(name for _, output in self.pairs for name in output)
        return tuple(name for name in names if any(name in differing for _, _, differing in self._telling))

    @functools.cached_property
    def _telling(self):
        """(case, output, the names of the tensors that differ)."""
        def differing(case, output):
            differences = self.check.differences(self.check.rules, [case], [output], self.precision)
            return frozenset(difference.tensor for difference in differences if not difference.agrees)

        return [(case, output, differing(case, output)) for case, output in self.pairs]

    # whole outputs

    def first(self, groups: Iterable[Group]) -> Group | None:
        """The first of the groups that reproduces all outputs, or None."""
        return next((group for group in groups if self.reproduces(group)), None)

    def reproduces(self, variants: Group) -> bool:
        """Whether the reference with these variants is the target on all cases; remembers the nearest."""
        excess = self._excess(variants)
        if excess < self.least_excess:
            self.nearest, self.least_excess = variants, excess
        return excess <= 1.0

    def needed(self, variants: Group) -> Group:
        """A group that reproduces the target without those of its variants that the others do not need."""
        for variant in sorted(variants, key=lambda variant: not variant.benign):
            rest = tuple(other for other in variants if other is not variant)
            if rest and self.reproduces(rest):
                return self.needed(rest)
        return variants

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
            screened = max(self._in_least_tolerances(self._screened(case, rules), output).values(), default=0.0)
            if screened > FAR_IN_SCREEN:
                return screened
        errors = self._in_least_tolerances(self.check.computed(case, rules), output, self.check.scales_of(case))
        if any(self._is_far(case, name, error) for name, error in errors.items()):
            return max(errors.values())
        differences = self.check.differences(rules, [case], [output], self.precision)
        return max((difference.excess for difference in differences), default=0.0)

    def _screened(self, case, rules):
        with np.errstate(all="ignore"):
            return self.check.screen(case, rules)

    def _in_least_tolerances(self, expected, output, scales=None):
        """{name: its error}, in units of the least tolerance that any tensor has."""
        unit, scales = tolerance.LEEWAY * tolerance.epsilon(self.precision), scales or {}
        return {name: tolerance.distance(output[name], array, scales.get(name, 0.0)) / unit
                for name, array in expected.items() if name in output}

    def _is_far(self, case, name, error):
        """Whether an error, in least tolerances, is more than any variant's rounding explains."""
        _, allowed, _ = self.check.expected(case, self.check.rules, self.precision)
        limit = allowed.get(name, 1.0) / (tolerance.LEEWAY * tolerance.epsilon(self.precision))
        return error > FAR * max(limit, 1.0)

    # tensor by tensor

    def explained_by_singles(self, catalogue: Iterable[KnownVariant]) -> dict[Group, frozenset[str]]:
        """{(variant,): which of the tensors that differ it explains}, without those that explain none."""
        for group in ((variant,) for variant in catalogue):
            if group not in self._singles:
                self._singles[group] = self.explains(group, self.wrong)
        found = {(variant,): self._singles[(variant,)] for variant in catalogue}
        return {group: names for group, names in found.items() if names}

    def explains(self, variants: Group, names: Iterable[str]) -> frozenset[str]:
        """Which of the tensors called `names` the reference with these variants reproduces in all cases."""
        rules, left = apply(self.check.rules, variants), set(names)
        for case, output, _ in sorted(self._telling, key=lambda item: (-len(item[2] & left), item[0].size)):
            asked = left & output.keys()
            try:
                left -= asked - self._agreeing(case, output, rules, asked) if asked else set()
            except (ArithmeticError, ValueError):
                return frozenset()
            if not left:
                break
        return frozenset(left)

    def _agreeing(self, case, output, rules, names):
        """Those of `names` that agree on one case; the costly tolerances are computed for near ones only."""
        if self.check.screen is not None:
            screened = self._in_least_tolerances(self._screened(case, rules), output)
            names = {name for name in names if screened.get(name, 0.0) <= FAR_IN_SCREEN}
        if names:
            errors = self._in_least_tolerances(self.check.computed(case, rules), output, self.check.scales_of(case))
            names = {name for name in names if not self._is_far(case, name, errors.get(name, 0.0))}
        if not names:
            return names
        differences = self.check.differences(rules, [case], [output], self.precision)
        return names - {difference.tensor for difference in differences if not difference.agrees}

    def together(self, explained: Explained, names: Collection[str], most: int, besides: Group = (),
                 missing: int = 0) -> Iterator[Group]:
        """`besides` and the fewest groups that explain all of `names` between them, each of them needed.

        missing: how many tensors may be left over, which groups explain together and none by itself; the fewest first.
        """
        usable = [group for group, theirs in explained.items() if theirs & set(names)]
        found = []
        for groups in itertools.chain.from_iterable(itertools.combinations(usable, k) for k in range(1, most + 1)):
            theirs = [explained[group] & set(names) for group in groups]
            left = len(names) - len(frozenset().union(*theirs))
            whole = tuple(dict.fromkeys(itertools.chain(besides, *groups)))
            if left <= missing and _each_is_needed(theirs) and without_conflict(whole):
                found.append((left, whole))
        for _, whole in itertools.islice(sorted(found, key=lambda item: item[0]), MOST_TRIED):
            yield whole

    def meeting(self, catalogue: Sequence[KnownVariant], explained: Explained) -> Iterator[Group]:
        """Pairs and triples that explain what no single variant does, with those that explain the other tensors."""
        hard = self.unexplained(explained)
        pairs = self._pairs(catalogue, hard)
        with_pairs = dict(explained)
        for pair in pairs:
            if self.explains(pair, hard):
                with_pairs[pair] = self.explains(pair, self.wrong)
        yield from self.together(with_pairs, self.wrong, most=3, missing=len(self.wrong) // 3)
        hard = self.unexplained(with_pairs)
        for triple in self._triples(pairs) if hard else ():
            if len(self.explains(triple, hard)) == len(hard):
                left = set(self.wrong) - self.explains(triple, self.wrong)
                yield from self.together(with_pairs, left, most=2, besides=triple) if left else [triple]

    def unexplained(self, explained: Explained) -> list[str]:
        """The names of the tensors that differ and that none of the groups explains."""
        easy = frozenset().union(*explained.values())
        return [name for name in self.wrong if name not in easy]

    def _pairs(self, catalogue, names):
        """The pairs one of which changes these tensors by itself, the nearest first."""
        relevant = {variant for variant in catalogue if self._changes(variant, names)}
        pairs = (pair for pair in itertools.combinations(catalogue, 2)
                 if relevant & set(pair) and without_conflict(pair))
        distances = {pair: self._distance(pair, names) for pair in pairs}
        return sorted((pair for pair, distance in distances.items() if distance < math.inf), key=distances.__getitem__)

    def _triples(self, pairs):
        """The nearest pairs with one more variant."""
        variants = tuple(dict.fromkeys(itertools.chain.from_iterable(pairs)))
        for pair in pairs[:NEAREST_PAIRS]:
            yield from extensions(pair, variants)

    def _changes(self, variant, names):
        """Whether the reference with this variant differs in one of these tensors."""
        rules = apply(self.check.rules, (variant,))
        for case, output in self.pairs:
            try:
                changed, base = self.check.computed(case, rules), self.check.computed(case, self.check.rules)
            except (ArithmeticError, ValueError):
                continue
            if any(name in output and not np.array_equal(changed[name], base[name], equal_nan=True) for name in names
                   if name in base and changed[name] is not tolerance.UNKNOWN):
                return True
        return False

    def _distance(self, group, names):
        """The sum of the errors' logarithms in these tensors over a few cases, in the screened ones if there are some.
        """
        rules, total = apply(self.check.rules, group), 0.0
        for case, output in [pair for pair in self.pairs if pair[1].keys() & set(names)][:FEW]:
            try:
                errors = self._errors_that_rank(case, output, rules, names)
            except (ArithmeticError, ValueError):
                return math.inf
            total += sum(math.log(max(1.0, errors[name])) for name in names if name in errors)
        return total

    def _errors_that_rank(self, case, output, rules, names):
        if self.check.screen is not None:
            screened = self._in_least_tolerances(self._screened(case, rules), output)
            if screened.keys() & set(names):
                return screened
        return self._in_least_tolerances(self.check.computed(case, rules), output)

    def partly(self, explained: Explained) -> tuple[tuple[Group, tuple[str, ...]], ...]:
        """The group that explains the most tensors, then the one that explains the most of the rest, and so on."""
        left, found = set(self.wrong), []
        chosen: Group = ()
        while left:
            usable = [group for group in explained if without_conflict((*chosen, *group))]
            best = max(usable, key=lambda group: len(explained[group] & left), default=None)
            if best is None or not explained[best] & left:
                break
            found.append((best, tuple(name for name in self.wrong if name in explained[best] & left)))
            left, chosen = left - explained[best], (*chosen, *best)
        return tuple(found)


def _each_is_needed(sets):
    """Whether each of the sets has an element that no other has."""
    return all(own - frozenset().union(*(other for other in sets if other is not own)) for own in sets)
