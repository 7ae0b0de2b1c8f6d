"""The report of a check as JSON: complete, for programs.

Used by: data.py. Test: reference_tests/datasets/test_check.py.
"""

from collections.abc import Sequence
from typing import Any

from .findings import SPLITS, Findings, Place
from .statistics import statistics


def to_json(findings: Findings) -> dict[str, Any]:
    """Everything that was found, as an object of JSON."""
    data = findings.dataset
    return {
        "data": data.name,
        "usable": findings.is_usable,
        "classes": [{"name": name, **{split: int(findings.counts[split][label]) for split in SPLITS}}
                    for label, name in enumerate(data.classes)],
        **{split: statistics(findings.facts[split]) for split in SPLITS},
        "broken": [{**_as_object(place, data.classes), "reason": reason} for place, reason in findings.broken],
        "duplicates": [{"in_training_and_test": group.is_leak, "of_different_classes": group.is_contradiction,
                        "images": [_as_object(place, data.classes) for place in group.places]}
                       for group in findings.duplicates],
        "remarks": list(data.remarks),
        "training_size": findings.training_size,
        "leaked_test_images": findings.leaked,
        "ignored_fields": {split: getattr(getattr(data, split), "ignored", {}) for split in SPLITS},
    }


def _as_object(place: Place, classes: Sequence[str]) -> dict[str, Any]:
    return {"split": place.split, "index": place.index, "name": place.name, "class": classes[place.label]}
