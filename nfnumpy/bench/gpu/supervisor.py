"""Measuring in a process of its own, which is ended when the time is up and replaced when it breaks off.

A kernel that accesses memory which is not its own leaves a process without a device, and a call into a library cannot
be interrupted: either must not cost the parts that follow, or the report.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..report import Report, say
from . import record, resume
from .subprocesses import FAREWELL, kill_all

GRACE = 3.0  # seconds after its time for which a process may still be at work, on a row or a file


def worker_command(given: dict[str, Any]) -> list[str]:
    """The command of a worker."""
    return [sys.executable, "-m", f"{__package__}.worker", json.dumps(given)]


def measure(path: str, plan: dict[str, Any], names: list[str], end: float, at: str,
            command: Callable[[dict[str, Any]], Sequence[str]] = worker_command) -> Report:
    """The report at `path` after measuring the parts called `names`, until `end` of time.perf_counter().

    plan: as JSON has it; at: the date of this run.
    """
    todo = names
    while todo:
        left = end - time.perf_counter()
        given = {"path": path, "plan": plan, "parts": todo, "seconds": max(0.0, left), "at": at}
        status = _status_of(command(given), max(0.0, left) + GRACE)
        report = resume.load(path)
        before, todo = todo, record.untouched(report, todo, at)
        running = [entry for entry in record.entries(report).values()
                   if entry["status"] == record.RUNNING and entry["at"] == at]
        if status == 0 or not (todo or running):
            break
        why = "its time was up" if status is None else f"its process ended with status {status}"
        for entry in running:
            entry["status"] = record.STOPPED if status is None else record.FAILED
            entry["why"] = why
        report.write()
        say(f"\nstopped: {why}")
        if status is None or todo == before:
            break
    report = resume.load(path)
    for name in record.untouched(report, names, at):
        record.leave_out(report, name, at, "no time was left")
    return report


def _status_of(command: Sequence[str], seconds: float) -> int | None:
    """The status of the command; None if it had to be ended after `seconds`."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # a pipe that closes with us
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=2 * FAREWELL)
        kill_all(process)
