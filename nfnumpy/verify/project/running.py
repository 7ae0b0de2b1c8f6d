"""Checks of findings, each in a child process with a time limit: foreign code may crash, hang, or end its process."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...cli import printable
from ...errors import first_line
from ..targets import package_of
from ..verdict import Difference, Outcome, Verdict
from .findings import Finding

PACKAGE = Path(__file__).parents[3]
LONGEST = 300  # characters of a problem


@dataclasses.dataclass(frozen=True)
class Settings:
    """timeout: seconds for each check; the rest is passed to it."""

    timeout: float = 300.0
    framework: str = "auto"
    examples: int = 20
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Result:
    """A finding's verdict, or None and the problem in one line."""

    finding: Finding
    verdict: Verdict | None
    problem: str = ""


def run_check(folder: str, finding: Finding, settings: Settings) -> Result:
    """The Result of one finding; the process is ended when its time is over."""
    if finding.obstacle:
        return Result(finding, None, finding.obstacle)
    request = {"kind": finding.kind, "target": finding.target, "path": _import_path(folder, finding),
               "framework": settings.framework, "examples": settings.examples,
               "options": {**finding.options, **settings.options}}
    with tempfile.TemporaryDirectory(prefix="nfnumpy-verify-") as scratch:
        given, answer, errors = (os.path.join(scratch, name) for name in ("request", "result", "errors"))
        Path(given).write_text(json.dumps(request), encoding="utf-8")
        ended = _run([given, answer], errors, settings.timeout)
        if ended is None:
            return Result(finding, None, f"it took longer than {settings.timeout:g} seconds")
        try:
            content = Path(answer).read_text(encoding="utf-8")
        except OSError:
            return Result(finding, None, f"{ended} before it reached a verdict{_last_line(errors)}")
    return result_from(finding, content)


def _import_path(folder, finding):
    """The folders that the code of a repository is usually imported from: those of its package, its root, and src."""
    root = os.path.abspath(folder)
    folders = [package_of(os.path.join(root, finding.file))[0], root, os.path.join(root, "src")]
    return list(dict.fromkeys(path for path in folders if os.path.isdir(path)))


def _run(files: Sequence[str], errors: str, timeout: float) -> str | None:
    """How the child process ended; None where its time was over."""
    command = [sys.executable, "-P", "-m", "nfnumpy.verify.project.child", *files]
    path = os.pathsep.join(filter(None, (str(PACKAGE), os.environ.get("PYTHONPATH"))))
    with open(errors, "wb") as stream:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stream,
                                 start_new_session=True, env={**os.environ, "PYTHONPATH": path})
        try:
            status = child.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(child)
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"its process was ended by {signal.Signals(-status).name}"
    return f"its process ended with status {status}"


def _end(child):
    """End the process and those that it started."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    child.wait()


def _last_line(errors):
    with contextlib.suppress(OSError):
        with open(errors, "rb") as file:
            file.seek(max(0, os.path.getsize(errors) - 4096))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return f": {printable(lines[-1][:LONGEST])}" if lines else ""
    return ""


def result_from(finding: Finding, content: str) -> Result:
    """The Result that a child process wrote; foreign code may have written it."""
    try:
        given = json.loads(content)
        if "problem" in given:
            return Result(finding, None, printable(first_line(given["problem"]))[:LONGEST] or "it gave no reason")
        return Result(finding, verdict_from(given["verdict"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Result(finding, None, "its process wrote no verdict that can be read")


def verdict_from(fields: Mapping[str, Any]) -> Verdict:
    """The Verdict that `Verdict.as_json` gave; ValueError, TypeError or KeyError for anything else."""
    known = {field.name for field in dataclasses.fields(Verdict)}
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                             for name, value in fields.items() if name in known}
    numbers = [field.name for field in dataclasses.fields(Difference) if field.name != "tensor"]
    given["differences"] = tuple(Difference(each["tensor"], **{name: float(each[name]) for name in numbers})
                                 for each in fields["differences"])
    if fields["relative_difference"] is not None:
        given["relative_difference"] = float(fields["relative_difference"])
    return Verdict(**{**given, "outcome": Outcome(fields["outcome"])})
