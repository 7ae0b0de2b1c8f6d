"""Who takes part, and how they take turns: a Process each."""

import importlib.util
import time

from .. import timing
from .processes import Process

OURS, PLAIN = "nfnumpy", "reference"  # with its fast paths, and in reference mode
TORCH, NCHW, JAX = "PyTorch NHWC", "PyTorch NCHW", "JAX"  # channels last and channels first


def opened(stack, section, makers):
    """{name: Process} of the contestants that can be made; `stack`, an ExitStack, closes them.

    makers: a dict from a contestant's name to (maker, *arguments); why one cannot be made is a note of `section`.
    """
    processes = {}
    for name, (maker, *arguments) in makers.items():
        try:
            processes[name] = stack.enter_context(Process(maker, *arguments))
        except timing.OneLine as error:
            section.note(f"{name} is left out: {error}")
    return processes


def torch_is_there(section):
    """Whether PyTorch is installed; a note of `section` if not."""
    found = importlib.util.find_spec("torch") is not None
    if not found:
        section.note("PyTorch is not installed: its side is left out.")
    return found


def ask_all(processes, method, *arguments):
    """(answers, failures): what that method returns in each of the processes, a dict, or why it does not."""
    answers, failures = {}, {}
    for name, process in processes.items():
        try:
            answers[name] = process.ask(method, *arguments)
        except timing.OneLine as error:
            failures[name] = str(error)
    return answers, failures


def take_turns(processes, repeats, plan, method, *arguments):
    """(timings, failures, peaks) of that method in each of the processes, a dict, as timing.take_turns has them.

    peaks: the greatest resident memory of each, bytes. Before each turn there is a pause, in which the threads of the
    one before, which wait busily for a while, fall asleep.
    """
    peaks = {}

    def sample(name):
        time.sleep(plan.pause)
        milliseconds, peak = processes[name].sample(plan.turn_milliseconds, method, *arguments)
        peaks[name] = max(peak or 0, peaks.get(name, 0))
        return milliseconds

    timings, failures = timing.take_turns({name: lambda name=name: sample(name) for name in processes}, repeats)
    return timings, failures, peaks
