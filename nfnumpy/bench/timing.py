"""Times as samples: their median and spread, and rounds in which implementations take turns."""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping

LEAST_ROUNDS = 2  # one in each order, also where time is up


@dataclasses.dataclass(frozen=True)
class Timing:
    """Samples of one quantity, in the order in which they were taken."""

    samples: tuple

    @property
    def median(self) -> float:
        """The middle sample."""
        return statistics.median(self.samples)

    def facts(self, name: str) -> dict[str, float]:
        """{name: median, name_low: least, name_high: greatest}, as a report's rows have them."""
        return {name: self.median, f"{name}_low": min(self.samples), f"{name}_high": max(self.samples)}


def host_milliseconds(work: Callable[[], object]) -> float:
    """How long the call `work()` takes."""
    started = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - started)


def steady_milliseconds(work: Callable[[], object], least: float) -> float:
    """How long a call `work()` takes among those of `least` milliseconds in a row, after one that is not counted."""
    times = max(1, math.ceil(least / max(1e-3, host_milliseconds(work))))

    def all_of_them():
        for _ in range(times):
            work()

    return host_milliseconds(all_of_them) / times


def take_turns(samplers: Mapping[str, Callable[[], float]], repeats: int,
               has_time: Callable[[], bool] = lambda: True) -> tuple[dict[str, Timing], dict[str, str]]:
    """Take `repeats` samples of each of `samplers`, name -> a function that returns one; returns (timings, failures).

    Each round calls all of them, rounds in alternating order, so that a change of the machine's speed reaches all
    alike. A sampler that raises drops out; timings: name -> Timing, failures: name -> one line. After LEAST_ROUNDS the
    rounds end early when `has_time()` is false.
    """
    samples: dict[str, list[float]] = {name: [] for name in samplers}
    failures: dict[str, str] = {}
    for repeat in range(repeats):
        if repeat >= LEAST_ROUNDS and not has_time():
            break
        for name in list(samplers)[::-1 if repeat % 2 else 1]:
            if name not in failures:
                try:
                    samples[name].append(samplers[name]())
                except Exception as error:
                    failures[name] = one_line(error)
    return {name: Timing(tuple(values)) for name, values in samples.items() if name not in failures}, failures


def ratio(numerator: Timing, denominator: Timing) -> Timing:
    """The Timing of numerator/denominator, sample by sample."""
    return Timing(tuple(a / b for a, b in zip(numerator.samples, denominator.samples, strict=True)))


class OneLine(Exception):
    """An error of another process, whose message is one line already."""


def one_line(error: BaseException) -> str:
    """The error as one line of at most 160 characters."""
    if isinstance(error, OneLine):
        return str(error)
    text = " ".join(str(error).split()) or type(error).__name__
    prefix = "out of memory: " if is_out_of_memory(error) else f"{type(error).__name__}: "
    return (prefix + text)[:160]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the host or on a GPU; every library has its own exception."""
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()
