"""The property tests and the kernels' tests on this device, in a process of their own."""

import importlib.util
import os
import pathlib
import re
import sys
from typing import Any

from ..report import Report
from . import checks, subprocesses

ROOT = pathlib.Path(__file__).parents[3]  # of a clone; a wheel does not contain the property tests
TESTS = ("**/test_*_on_cupy.py", "kernels/test_*.py")
# "FAILED path::test - reason" at the end, "path::test FAILED" and "[gw1] [ 5%] FAILED path::test" on the way
FAILED_LINE = re.compile(r"\b(?:FAILED|ERROR) (\S+::\S+)|(\S+::\S+) (?:FAILED|ERROR)\b")


def test_files(folder: pathlib.Path | None = None) -> list[str]:
    """The property tests that run on a GPU, and those of the kernels; none where they are not beside the package."""
    folder = folder or ROOT / "reference_tests"
    return sorted({str(file) for pattern in TESTS for file in folder.glob(pattern)})


def has_tests() -> bool:
    """Whether the tests are there."""
    return bool(test_files())


def measure(report: Report, plan: Any, allowance: Any) -> None:
    """The section "tests": one row with pytest's summary, the names of failed tests, and the last lines printed."""
    with report.section("tests", "Property tests and kernel tests on this device") as section:
        ended = subprocesses.run(pytest_command(test_files()), allowance.timeout(), ROOT)
        names = failed_names(ended.text)
        passed = None if ended.status is None and not names else ended.status == 0
        row = section.add(what="tests", passed=passed, found=_summary(ended), failed=names,
                          output=ended.lines[-subprocesses.TAIL:])
        section.show(checks.COLUMNS)
        if ended.status is None:
            allowance.stop(f"killed, the time was up: {row['found']}")
        for name in names:
            section.note(f"failed: {name}")
        if ended.status and not names:
            for line in row["output"]:
                section.note(line)


def pytest_command(files: list[str]) -> list[str]:
    """pytest over `files`, on all cores but two where it has xdist; the repository's own options do not apply."""
    command = [sys.executable, "-m", "pytest", "-v", "--tb=short", "-p", "no:cacheprovider", "-o", "addopts="]
    if importlib.util.find_spec("xdist"):
        workers = max(1, (os.cpu_count() or 1) - 2)
        command += ["-n", str(workers), "--dist", "worksteal"]
    return [*command, *files]


def failed_names(text: str) -> list[str]:
    """The tests that failed, from what pytest printed so far."""
    return sorted({first or second for first, second in FAILED_LINE.findall(text)})


def _summary(ended: subprocesses.Ended) -> str:
    """pytest's line of counts, or the counts of what was printed before it was killed."""
    if ended.status is not None:
        return next((line for line in reversed(ended.lines) if re.search(r"\bin [\d.]+s", line)), ended.last_line)
    return f"{len(re.findall(r'PASSED', ended.text))} passed, {len(failed_names(ended.text))} failed so far"
