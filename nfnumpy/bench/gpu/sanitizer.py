"""compute-sanitizer over a few small training steps."""

import sys
from typing import Any

from ..report import Report
from . import checks, subprocesses
from .property_tests import ROOT

ERROR_STATUS = "9"


def measure(report: Report, plan: Any, allowance: Any, tool: str) -> None:
    """The section "sanitizer TOOL": one row, and the last lines that were printed."""
    with report.section(f"sanitizer {tool}", f"compute-sanitizer --tool {tool}") as section:
        ended = subprocesses.run(
            ["compute-sanitizer", "--tool", tool, "--error-exitcode", ERROR_STATUS, sys.executable, "-m",
             f"{__package__}.sanitizer_steps"], allowance.timeout(), ROOT)
        steps = sum(" loss " in line for line in ended.lines)
        row = section.add(what=tool, passed=None if ended.status is None else ended.status == 0,
                          found=f"{ended.last_line} ({steps} steps)", output=ended.lines[-subprocesses.TAIL:])
        if ended.status is None:
            allowance.stop(f"killed after {steps} steps, the time was up")
            row["passed"] = False if any("ERROR" in line or "Invalid" in line for line in ended.lines) else None
        section.show(checks.COLUMNS)
        if row["passed"] is not True:
            for line in ended.lines[-subprocesses.TAIL:]:
                section.note(line)
