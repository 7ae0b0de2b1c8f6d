"""The catalogue of known forms: each is the reference with some of its rules changed, and can be run.

A kind's rules are a frozen dataclass whose defaults are the reference. An Entry changes fields of it; two entries that
change different fields make a pair, because mistakes come in company.
"""

import dataclasses
import itertools


@dataclasses.dataclass(frozen=True)
class Entry:
    """A known form: changes to the rules, whether it is harmless, and a sentence on what it is and what it does."""

    name: str
    changes: dict
    explanation: str
    harmless: bool = False


def combinations(catalogue):
    """Every single entry, then every pair that changes different rules, as tuples; harmless ones first."""
    by_harm = sorted(catalogue, key=lambda entry: not entry.harmless)
    yield from ((entry,) for entry in by_harm)
    yield from ((one, other) for one, other in itertools.combinations(by_harm, 2)
                if not set(one.changes) & set(other.changes))


def extensions(entries, catalogue):
    """The tuple `entries` with one more that changes other rules."""
    taken = {key for entry in entries for key in entry.changes}
    yield from ((*entries, entry) for entry in catalogue if not taken & set(entry.changes))


def changed(rules, entries):
    """The rules with the changes of all `entries` made; "part.field" is the field of a rule that is itself rules."""
    for entry in entries:
        for key, value in entry.changes.items():
            rules = _replaced(rules, *reversed(key.rpartition(".")[::2]), value)
    return rules


def _replaced(rules, field, part, value):
    if part:
        return dataclasses.replace(rules, **{part: dataclasses.replace(getattr(rules, part), **{field: value})})
    return dataclasses.replace(rules, **{field: value})
