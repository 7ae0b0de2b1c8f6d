"""What a report says about the parts of the GPU's run: a dict from a part's name to its entry.

An entry has the part's `status`, `why` it is not done (or None), the `seconds` it took, its `sections`, and the date
`at` which the run began that measured it.
"""

from typing import Any

from ..report import Report

RUNNING, DONE, LEFT_OUT, FAILED, STOPPED = "running", "done", "left out", "failed", "stopped"


def entries(report: Report) -> dict[str, dict[str, Any]]:
    """The entries of all parts that were reached."""
    return report.facts.setdefault("parts", {})


def begin(report: Report, name: str, at: str) -> dict[str, Any]:
    """A new entry for a part that begins; what an earlier attempt left is dropped."""
    for section in entries(report).pop(name, {}).get("sections", ()):
        report.sections.pop(section, None)
    entry = entries(report)[name] = {"status": RUNNING, "why": None, "seconds": 0.0, "sections": [], "at": at}
    return entry


def leave_out(report: Report, name: str, at: str, why: str) -> None:
    """Record why a part is not measured; what an earlier attempt found is kept."""
    sections = entries(report).get(name, {}).get("sections", [])
    entries(report)[name] = {"status": LEFT_OUT, "why": why, "seconds": 0.0, "sections": sections, "at": at}


def unfinished(report: Report, names: list[str]) -> list[str]:
    """Those of the parts that are not done."""
    return [name for name in names if entries(report).get(name, {}).get("status") != DONE]


def untouched(report: Report, names: list[str], at: str) -> list[str]:
    """Those of the parts that the run that began `at` has not reached."""
    return [name for name in names if entries(report).get(name, {}).get("at") != at]
