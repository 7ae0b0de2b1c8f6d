"""Measuring in a process of its own, which is ended when the time is up and replaced when it breaks off.

A kernel that accesses memory which is not its own leaves a process without a device, and a call into a library cannot
be interrupted: either must not cost the parts that follow, or the report.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..report import Report, say
from . import record, resume
from .subprocesses import FAREWELL, kill_all

INTERVAL = 1.0  # seconds between two looks at the report
GRACE = 3.0  # seconds after its time for which a process may still be at work, on a row or a file


def worker_command(given: dict[str, Any]) -> list[str]:
    """The command of a worker."""
    return [sys.executable, "-m", f"{__package__}.worker", json.dumps(given)]


class Watch:
    """Tells from the report at `path` whether a part of the run that began `at` takes longer than its limit.

    limits: seconds by the name of a part; one without a limit may take all the time.
    """

    def __init__(self, path: str, at: str, limits: Mapping[str, float]) -> None:
        self._path, self._at, self._limits = path, at, limits
        self._part: str | None = None
        self._since = 0.0

    def overdue(self) -> str | None:
        """Why the process is to be ended now; None if it may go on."""
        running = [name for name, entry in record.entries(resume.load(self._path)).items()
                   if entry["status"] == record.RUNNING and entry["at"] == self._at]
        part = running[0] if running else None
        if part != self._part:
            self._part, self._since = part, time.perf_counter()
        limit = self._limits.get(part or "", float("inf"))
        return f"it took more than {limit:.0f} s" if time.perf_counter() - self._since > limit else None


def measure(path: str, plan: dict[str, Any], names: list[str], end: float, at: str, limits: Mapping[str, float],
            command: Callable[[dict[str, Any]], Sequence[str]] = worker_command) -> Report:
    """The report at `path` after measuring the parts called `names`, until `end` of time.perf_counter().

    plan: as JSON has it; at: the date of this run; limits: as Watch has them.
    """
    todo = names
    while todo:
        left = end - time.perf_counter()
        given = {"path": path, "plan": plan, "parts": todo, "seconds": max(0.0, left), "at": at}
        status, overdue = _status_of(command(given), max(0.0, left) + GRACE, Watch(path, at, limits))
        report = resume.load(path)
        before, todo = todo, record.untouched(report, todo, at)
        running = [entry for entry in record.entries(report).values()
                   if entry["status"] == record.RUNNING and entry["at"] == at]
        if status == 0 or not (todo or running):
            break
        why = overdue or ("its time was up" if status is None else f"its process ended with status {status}")
        for entry in running:
            entry["status"] = record.STOPPED if status is None else record.FAILED
            entry["why"] = why
        report.write()
        say(f"\nstopped: {why}")
        if (status is None and overdue is None) or todo == before:
            break
    report = resume.load(path)
    for name in record.untouched(report, names, at):
        record.leave_out(report, name, at, "no time was left")
    return report


def _status_of(command: Sequence[str], seconds: float, watch: Watch) -> tuple[int | None, str | None]:
    """(status of the command, None), or (None, why): ended by the watch, or after `seconds`, where why is None too."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # a pipe that closes with us
    end = time.perf_counter() + seconds
    try:
        while (left := end - time.perf_counter()) > 0.0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=min(left, INTERVAL)), None
            overdue = watch.overdue()
            if overdue is not None:
                return None, overdue
        return None, None
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=2 * FAREWELL)
        kill_all(process)
