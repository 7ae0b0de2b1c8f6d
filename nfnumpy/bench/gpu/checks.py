"""Checks of a section: what is checked, whether it passed, and what was found."""

from collections.abc import Callable

from ..report import Report, Section, say
from ..timing import one_line
from .record import FAILED, entries

COLUMNS = [("check", "what", ""), ("result", "passed", lambda passed: "passed" if passed else "FAILED"),
           ("found", "found", "")]


def check(section: Section, what: str, function: Callable[[], tuple[bool, str]]) -> None:
    """Add the row of a check, a function that returns (whether it passed, what it found), and print it."""
    try:
        passed, found = function()
    except Exception as error:
        passed, found = False, one_line(error)
    section.add(what=what, passed=passed, found=found)
    say(f"  {'passed' if passed else 'FAILED'}  {what}: {found}")


def is_right(report: Report) -> bool:
    """Whether no check failed, no network computes something else than PyTorch's, and no part broke off."""
    rows = [row for section in report.sections.values() for row in section.rows]
    wrong = [row for row in rows if row.get("passed") is False or row.get("agrees") is False]
    return not wrong and all(entry["status"] != FAILED for entry in entries(report).values())
