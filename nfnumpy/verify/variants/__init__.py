"""Known variants of the reference: mistakes and benign other forms, each of which can be run.

A reference has rules: a frozen dataclass whose fields are numbers, flags and functions, and whose defaults are the
reference itself. A KnownVariant replaces some of the fields. Two variants that replace different fields make a pair.
The catalogues of blocks and networks, and the rules that several checks share, are modules of this package; those of a
single check stand in its file in checks/.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, eq=False)
class KnownVariant:
    """changes: the rules' fields -> other values, "part.field" for a field of rules inside the rules; explanation: what
    it is and what it does; benign: whether a network with it works as well; across_examples: whether an output depends
    on the other examples of the batch, so that a single example does not show it; is_open: whether it says of some
    results only that they are wrong (tolerance.UNKNOWN).
    """

    name: str
    changes: Mapping[str, Any]
    explanation: str
    benign: bool = False
    across_examples: bool = False
    is_open: bool = False

    def conflicts(self, other: "KnownVariant") -> bool:
        """Whether both replace the same field."""
        return not self.changes.keys().isdisjoint(other.changes)


def combinations(catalogue: Iterable[KnownVariant]) -> Iterator[tuple[KnownVariant, ...]]:
    """Every single variant, then every pair without conflict; benign ones first."""
    ordered = sorted(catalogue, key=lambda variant: not variant.benign)
    for variant in ordered:
        yield (variant,)
    for one, other in itertools.combinations(ordered, 2):
        if not one.conflicts(other):
            yield one, other


def extensions(variants: tuple[KnownVariant, ...],
               catalogue: Iterable[KnownVariant]) -> Iterator[tuple[KnownVariant, ...]]:
    """The tuple `variants` with one more that conflicts with none of them."""
    for further in catalogue:
        if not any(further.conflicts(variant) for variant in variants):
            yield *variants, further


def apply(rules: Any, variants: Iterable[KnownVariant]) -> Any:
    """The rules with the changes of all `variants`."""
    for variant in variants:
        for key, value in variant.changes.items():
            part, _, field = key.rpartition(".")
            if part:
                inner = dataclasses.replace(getattr(rules, part), **{field: value})
                rules = dataclasses.replace(rules, **{part: inner})
            else:
                rules = dataclasses.replace(rules, **{field: value})
    return rules
