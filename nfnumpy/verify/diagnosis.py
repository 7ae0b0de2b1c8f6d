"""The search for the known variants that make the reference into the target.

1. Every single variant is run on the input cases, benign ones first. A candidate stops at the first case that it does
   not reproduce, once it is no better than the nearest so far; that case comes first for the next candidate.
2. Tensor by tensor: which of the tensors that differ does each single variant explain? Mistakes that touch different
   tensors are found one by one like this, and put together.
3. Mistakes that meet in a tensor, so that no single variant explains it, are looked for there alone, as pairs and as
   triples, and put together with those that explain the other tensors.
4. Where all that fails, the Diagnosis says which tensors some variants explain, and which nothing does.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from .search import Group, Search
from .variants import KnownVariant, apply, combinations

MOST_TOGETHER = 4  # variants that are found one by one and put together


class Diagnosis(NamedTuple):
    """variants: those that reproduce the target, or None; nearest: those that come nearest where none does; partly: in
    that case (variants, the names of the tensors that they explain); excess: the nearest ones' error over its limit.
    """

    variants: Group | None
    nearest: Group
    partly: tuple[tuple[Group, tuple[str, ...]], ...] = ()
    excess: float = 0.0


CONFORMING = Diagnosis((), ())


def named(variants: Iterable[KnownVariant]) -> dict[str, Any]:
    """The fields `diagnosis` and `explanation` of a Verdict, what does harm first."""
    variants = sorted(variants, key=lambda variant: variant.benign)
    return {"diagnosis": tuple(variant.name for variant in variants),
            "explanation": tuple(variant.explanation for variant in variants)}


def diagnose(check: Any, cases: Sequence[Any], outputs: Sequence[Any], precision: str,
             deeply: bool = True, simply: bool = True) -> Diagnosis:
    """The Diagnosis of a target's outputs for the input cases of a Check, which rounding does not explain.

    deeply: whether any variants that meet in a tensor are looked for; simply: whether single ones and pairs with a
    benign one are, which need not be looked for twice.
    """
    search = Search(check, cases, outputs, precision)
    catalogue = sorted(check.catalogue, key=lambda variant: (variant.is_open, not variant.benign))
    closed = [variant for variant in catalogue if not variant.is_open]
    found = simply and (_simple(search, closed) or (len(closed) < len(catalogue) and _simple(search, catalogue)))
    if found:
        return Diagnosis(found, ())
    if not deeply:
        return Diagnosis(None, search.nearest, excess=search.least_excess)
    explained = search.explained_by_singles(catalogue)
    meeting = search.meeting(catalogue, explained) if search.unexplained(explained) else combinations(catalogue)
    for candidates in (meeting, search.together(explained, search.wrong, most=MOST_TOGETHER)):
        found = search.first(candidates)
        if found:
            return Diagnosis(search.needed(found), ())
    return Diagnosis(None, search.nearest, search.partly(explained))


def diagnose_by_uses(check: Any, cases: Sequence[Any], outputs: Sequence[Any], precision: str,
                     deeply: bool = True, simply: bool = True) -> Diagnosis:
    """The same for cases of several uses: one variant for all, else the plain ones first, then, with what they show,
    the others.
    """
    pairs = list(zip(cases, outputs, strict=True))
    plain = [(case, output) for case, output in pairs if case.options.get("use", "plain") == "plain"]
    if len(plain) in (0, len(pairs)):
        return diagnose(check, cases, outputs, precision, deeply, simply)
    search = Search(check, cases, outputs, precision)
    single = simply and search.first((variant,) for variant in check.catalogue if not variant.is_open)
    if single:
        return Diagnosis(single, ())
    plain_cases, plain_outputs = [case for case, _ in plain], [output for _, output in plain]
    first = CONFORMING
    if not all(check.agrees(case, output, precision) for case, output in plain):
        first = diagnose(check, plain_cases, plain_outputs, precision, deeply, simply)
    if first.variants is None:
        return first
    then = dataclasses.replace(check, rules=apply(check.rules, first.variants), catalogue=tuple(
        variant for variant in check.catalogue if not any(variant.conflicts(found) for found in first.variants)))
    if all(then.agrees(case, output, precision) for case, output in pairs):
        return first
    second = diagnose(then, cases, outputs, precision, deeply)
    if second.variants is not None:
        return Diagnosis((*first.variants, *second.variants), ())
    known = ((first.variants, Search(check, plain_cases, plain_outputs, precision).wrong),) if first.variants else ()
    return Diagnosis(None, (*first.variants, *second.nearest), (*known, *second.partly))


def _simple(search: Search, catalogue: Sequence[KnownVariant]) -> Group | None:
    """A single variant, two that touch different tensors, or a pair with a benign one, that reproduce the target."""
    explained = search.explained_by_singles(catalogue)
    pairs = (group for group in combinations(catalogue) if any(variant.benign for variant in group))
    return (search.first((variant,) for variant in catalogue)
            or search.first(search.together(explained, search.wrong, most=2)) or search.first(pairs))


def alternatives(group: Group, catalogue: Iterable[KnownVariant]) -> Iterator[Group]:
    """The group itself, then those with one of its variants exchanged for another one that changes the same rule."""
    yield group
    for position, variant in enumerate(group):
        others = (*group[:position], *group[position + 1:])
        for other in catalogue:
            if other != variant and other.conflicts(variant) and not any(other.conflicts(each) for each in others):
                yield (*group[:position], other, *group[position + 1:])


def reproducing(check: Any, cases: Sequence[Any], outputs: Sequence[Any], precision: str,
                groups: Iterable[Group]) -> Group | None:
    """The first of `groups` of known variants that reproduces a target's outputs, or None."""
    return Search(check, cases, outputs, precision).first(groups)
