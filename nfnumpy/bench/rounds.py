"""Rounds of the CPU's run: every implementation works in a Process of its own, and they take turns."""

import contextlib
import functools
import importlib.util
import time
from typing import Any

from . import timing
from .processes import Process
from .report import Section


def open_processes(stack: contextlib.ExitStack, section: Section, makers: dict[str, tuple]) -> dict[str, Process]:
    """{name: Process} of the implementations that can be made; `stack` closes them.

    makers: name -> (maker, *arguments), as Process takes them; why one cannot be made is a note of `section`.
    """
    processes: dict[str, Process] = {}
    for name, (maker, *arguments) in makers.items():
        try:
            processes[name] = stack.enter_context(Process(maker, *arguments))
        except timing.OneLine as error:
            section.note(f"{name} is left out: {error}")
    return processes


def torch_is_installed(section: Section) -> bool:
    """Whether PyTorch is installed; a note of `section` if not."""
    found = importlib.util.find_spec("torch") is not None
    if not found:
        section.note("PyTorch is not installed: its side is left out.")
    return found


def call_all(processes: dict[str, Process], method: str, *arguments: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """(results, failures): name -> what that method returns in the process, or the line that says why it does not."""
    results: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for name, process in processes.items():
        try:
            results[name] = process.call(method, *arguments)
        except timing.OneLine as error:
            failures[name] = str(error)
    return results, failures


def take_turns(processes: dict[str, Process], repeats: int, plan: Any, method: str,
               *arguments: Any) -> tuple[dict[str, timing.Timing], dict[str, str], dict[str, int]]:
    """(timings, failures, peaks) of that method in each of the processes, as timing.take_turns has them.

    peaks: name -> greatest resident memory, bytes. A pause before each turn lets the threads of the process before,
    which spin for a while after their work, fall asleep.
    """
    peaks: dict[str, int] = {}

    def sample(name):
        time.sleep(plan.pause)
        milliseconds, peak = processes[name].sample(plan.turn_milliseconds, method, *arguments)
        peaks[name] = max(peak or 0, peaks.get(name, 0))
        return milliseconds

    timings, failures = timing.take_turns({name: functools.partial(sample, name) for name in processes}, repeats)
    return timings, failures, peaks
