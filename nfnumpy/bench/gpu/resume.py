"""Reading the report of an earlier run, to measure what is left. A file is untrusted until it has been checked here."""

import json
import os
from typing import Any

from ...errors import InputError
from ..report import FORMAT, Report
from .plan import Plan

LARGEST = 1 << 26  # bytes; a whole report has less than one
SECTION = {"title": str, "rows": list, "notes": list, "failure": (str, type(None)), "seconds": (int, float)}
ENTRY = {"status": str, "why": (str, type(None)), "seconds": (int, float), "sections": list, "at": str}
SAME = ("device", "nfnumpy", "cupy", "torch", "driver")  # facts of a machine that parts of one report share


def load(path: str) -> Report:
    """The report in the file at `path`; InputError if it is no report of the GPU's run."""
    try:
        if os.path.getsize(path) > LARGEST:
            raise ValueError(f"it has more than {LARGEST >> 20} MB")
        with open(path, "rb") as file:
            found = json.loads(file.read(LARGEST))
        _check(found)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"--json {path}: expected a report of this command, but: {reason[:160]}; give another file, "
                         f"or remove it") from None
    return Report.restored(path, found)


def earlier(path: str, machine: dict[str, Any], plan: Plan) -> tuple[Report | None, str | None]:
    """(the report at `path` if its parts belong with this run's, else None; why they do not, or None)."""
    if not os.path.isfile(path) or not os.path.getsize(path):
        return None, None
    report = load(path)
    for key in SAME:
        before, now = report.facts["machine"].get(key), machine.get(key)
        if before != now:
            return None, f"its {key} was {_shown(before)} and is {_shown(now)}"
    options = report.facts["options"]
    for key, value in plan.identity().items():
        if options.get(key) != value:
            return None, f"its option {key} was {_shown(options.get(key))} and is {_shown(value)}"
    return report, None


def _shown(value: Any) -> str:
    """A value of the file as a short text without control characters."""
    return repr(value)[:40]


def _check(found: Any) -> None:
    """ValueError unless `found` has the structure of a report."""
    _fields(found, {"format": int, "date": str, "machine": dict, "options": dict, "parts": dict, "sections": dict},
            "the file")
    if found["format"] != FORMAT:
        raise ValueError(f"its format is {found['format']}, expected {FORMAT}")
    for name, section in found["sections"].items():
        _fields(section, SECTION, f"section {name[:40]!r}")
        if not all(isinstance(row, dict) for row in section["rows"]):
            raise ValueError(f"section {name[:40]!r} has rows that are no objects")
        if not all(isinstance(note, str) for note in section["notes"]):
            raise ValueError(f"section {name[:40]!r} has notes that are no text")
    for name, entry in found["parts"].items():
        _fields(entry, ENTRY, f"part {name[:40]!r}")
        if not all(isinstance(section, str) for section in entry["sections"]):
            raise ValueError(f"part {name[:40]!r} names sections that are no text")


def _fields(value: Any, types: dict[str, Any], what: str) -> None:
    """ValueError unless `value` is a dict with these keys and types."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no object")
    for key, kind in types.items():
        if not isinstance(value.get(key), kind) or (key not in value):
            raise ValueError(f"{what} has no {key!r} of the right type")
