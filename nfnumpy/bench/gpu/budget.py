"""How much time a run has, and how much of it one part may take."""

import time
from collections.abc import Callable

STRETCH = 1.5  # a part may take that many times its estimate before it shortens itself
TIMEOUT = 2.5  # and a program that many times before it is killed, where other parts follow


class Budget:
    """`seconds` from now on. clock: a function that returns seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """Seconds until the end; negative after it."""
        return self._end - self.clock()

    def allowance(self, estimate: float, is_last: bool = False) -> "Allowance":
        """What a part of that estimate, in seconds, may take from now on. is_last: whether no other part follows."""
        return Allowance(self, estimate, is_last)


class Allowance:
    """The time of one part, and why it was stopped if its process had to be killed."""

    def __init__(self, budget: Budget, estimate: float, is_last: bool) -> None:
        self._budget = budget
        self._timeout = float("inf") if is_last else TIMEOUT * estimate
        self._end = budget.clock() + STRETCH * estimate
        self.stopped: str | None = None

    def timeout(self) -> float:
        """After how many seconds a program of the part is killed; 1 or more."""
        return max(1.0, min(self._timeout, self._budget.left()))

    def left(self) -> float:
        """Seconds that a part which could be longer has."""
        return min(self._end - self._budget.clock(), self._budget.left())

    def lasts(self) -> bool:
        """Whether a part that could be longer goes on."""
        return self.left() > 0

    def stop(self, why: str) -> None:
        """Remember that a process of the part was killed."""
        self.stopped = why
