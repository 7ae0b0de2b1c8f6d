"""Times as samples: their median and how far they spread, and contestants that take turns."""

import dataclasses
import math
import statistics
import time


@dataclasses.dataclass(frozen=True)
class Timing:
    """Samples of one quantity, in the order in which they were taken."""

    samples: tuple

    @property
    def median(self):
        """The middle sample."""
        return statistics.median(self.samples)

    def facts(self, name):
        """{name: median, name_low: least, name_high: greatest}, as a report's rows hold them."""
        return {name: self.median, f"{name}_low": min(self.samples), f"{name}_high": max(self.samples)}


def host_milliseconds(work):
    """How long the call `work()` takes."""
    started = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - started)


def steady_milliseconds(work, least):
    """How long a call `work()` takes among those of `least` milliseconds in a row, after one that is not counted."""
    times = max(1, math.ceil(least / max(1e-3, host_milliseconds(work))))

    def all_of_them():
        for _ in range(times):
            work()

    return host_milliseconds(all_of_them) / times


def take_turns(contestants, repeats):
    """Take `repeats` samples of each contestant, a dict name -> function that returns one; returns (timings, failures).

    Every round asks all of them, in turns forwards and backwards, so that a machine that speeds up or slows down does
    so for all. A contestant that raises drops out; timings: name -> Timing, failures: name -> one line.
    """
    samples, failures = {name: [] for name in contestants}, {}
    for repeat in range(repeats):
        for name in list(contestants)[::-1 if repeat % 2 else 1]:
            if name not in failures:
                try:
                    samples[name].append(contestants[name]())
                except Exception as error:
                    failures[name] = one_line(error)
    return {name: Timing(tuple(values)) for name, values in samples.items() if name not in failures}, failures


def ratio(ours, theirs):
    """The Timing of ours/theirs, sample by sample."""
    return Timing(tuple(a / b for a, b in zip(ours.samples, theirs.samples)))


class OneLine(Exception):
    """What went wrong somewhere else, told in one line already."""


def one_line(error):
    """What went wrong, as one line of at most 160 characters."""
    if isinstance(error, OneLine):
        return str(error)
    text = " ".join(str(error).split()) or type(error).__name__
    known = "out of memory" in text.lower() or isinstance(error, MemoryError)
    prefix = "out of memory: " if known else f"{type(error).__name__}: "
    return (prefix + text)[:160]
