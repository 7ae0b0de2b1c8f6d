"""Is it right? Property tests on the device, compute-sanitizer, losses beside NumPy's, and the digits' accuracy."""

import contextlib
import functools
import io
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from ...errors import InputError
from ...training import train
from ..report import Report, Section, watched
from ..timing import one_line
from . import loss_agreement

ROOT = pathlib.Path(__file__).parents[3]  # of a clone; a wheel does not contain the property tests
TESTS = ("**/test_*_on_cupy.py", "kernels/test_*.py")
TOOLS = ("memcheck", "racecheck")
DIGITS_ACCURACY, DIGITS_TOLERANCE = 0.9916, 0.006
COLUMNS = [("check", "what", ""), ("result", "passed", lambda passed: "passed" if passed else "FAILED"),
           ("found", "found", "")]


def test_files(folder: pathlib.Path | None = None) -> list[str]:
    """The property tests that run on a GPU; InputError where they are not beside the package."""
    folder = folder or ROOT / "reference_tests"
    found = sorted({str(file) for pattern in TESTS for file in folder.glob(pattern)})
    if not found:
        raise InputError(f"the property tests are not in {folder}; run from a clone of the repository, or leave them "
                         f"out with --no-tests")
    return found


def measure(report: Report, plan: Any) -> None:
    """The section "correctness": rows with what, passed and found."""
    with report.section("correctness", "Correctness on this device") as section:
        for what, check in watched(_checks(plan, section), "checks"):
            try:
                passed, found = check()
            except Exception as error:
                passed, found = False, one_line(error)
            section.add(what=what, passed=passed, found=found)
        section.show(COLUMNS)


def _checks(plan: Any, section: Section) -> list[tuple[str, Callable[[], tuple[bool, str]]]]:
    """(what is checked, a function that returns whether it passed and what it found) for each check of the plan."""
    checks: list[tuple[str, Callable[[], tuple[bool, str]]]] = []
    if plan.tests:
        checks.append(("property tests", functools.partial(property_tests, test_files())))
        if shutil.which("compute-sanitizer"):
            checks += [(f"compute-sanitizer {tool}", functools.partial(sanitize, tool)) for tool in TOOLS]
        else:
            section.note("compute-sanitizer is not on PATH: memory is not checked on the device")
    for dtype, sam, steps, bound in loss_agreement.RUNS:
        what = f"losses beside NumPy's, {dtype}" + (", SAM" if sam else "")
        checks.append((what, functools.partial(loss_agreement.compare_losses, dtype, sam, min(steps, plan.loss_steps),
                                               bound, plan.loss_batch)))
    if plan.digits:
        checks.append(("accuracy on the digits", train_the_digits))
    return checks


def failed(report: Report) -> bool:
    """Whether something is wrong: a check failed, could not be made, or PyTorch's network computes something else."""
    section = report.sections["correctness"]
    return section.failure is not None or any(not row["passed"] for row in section.rows) \
        or bool(report.rows("against PyTorch", agrees=False))


def property_tests(files: list[str]) -> tuple[bool, str]:
    """(whether all pass, pytest's last line) in a process of their own."""
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", *files], capture_output=True, text=True, cwd=ROOT)
    return _judged(done)


def sanitize(tool: str) -> tuple[bool, str]:
    """(whether compute-sanitizer's `tool` finds nothing in a few steps, its last line)."""
    done = subprocess.run(["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", sys.executable, "-m",
                           "nfnumpy.bench.gpu.sanitizer_steps"], capture_output=True, text=True, cwd=ROOT)
    return _judged(done)


def _judged(done):
    """(whether the status is 0, last line); the whole output of a failure goes to the error stream."""
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr, flush=True)
    lines = (done.stdout + done.stderr).split("\n")
    return done.returncode == 0, next((line.strip(" =") for line in reversed(lines) if line.strip()), "no output")


def train_the_digits(**changes: Any) -> tuple[bool, str]:
    """(whether the default run reaches its accuracy, what it reached)."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        entries = train({"backend": "cupy", "out": os.path.join(folder, "run"), **changes})
    accuracy = entries[-1]["test_accuracy"]
    return abs(accuracy - DIGITS_ACCURACY) <= DIGITS_TOLERANCE, \
        f"{100 * accuracy:.2f} % after {len(entries)} epochs, expected {100 * DIGITS_ACCURACY:.2f} ± " \
        f"{100 * DIGITS_TOLERANCE:.1f} %"
