"""When a run ends before its last epoch: after SIGTERM or SIGINT, or in time before --time-limit is over."""

import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from ..errors import InputError, Terminated

DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
UNITS = (86400, 3600, 60, 1)  # seconds
MARGIN = 2.0  # seconds, for what the limit does not see: the start of the interpreter and its end
SAVED_PER_SECOND = 1e8  # bytes; a guess on the slow side, until a checkpoint has been timed
SIGNALS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}


class TimeIsUp(Exception):
    """--time-limit has ended the run; everything is saved."""


def duration(text: str) -> int:
    """The seconds of a duration such as "2h30m", "45m", "1d" or "5400"; InputError for anything else."""
    parts = DURATION.fullmatch(f"{text}s" if text.isdigit() else text)
    if parts is None or not any(parts.groups()) or max(map(len, filter(None, parts.groups()))) > 9:
        raise InputError(f"{text!r} is no duration, expected one such as 2h30m, 45m or, in seconds, 5400")
    return sum(unit * int(number or 0) for unit, number in zip(UNITS, parts.groups(), strict=True))


class Ending:
    """Context of a run that ends in order.

    limit: seconds that the run may take, from now on; None: no limit. A first signal is remembered, and `is_due` then
    says that the run is to save and end; a second one ends it where it is. Before `begin`, when there is nothing to
    save, the first one does. A signal that the process ignores, as under nohup, stays ignored.
    """

    def __init__(self, limit: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = None if limit is None else clock() + limit - MARGIN
        self._received: int | None = None
        self._has_begun = False
        self._handlers: dict[int, Any] = {}
        self._step_seconds = 0.0
        self._save_seconds = 0.0
        self._last_step = clock()

    def __enter__(self) -> "Ending":
        if threading.current_thread() is threading.main_thread():  # no other one may set handlers
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._handlers[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: remember the first signal, end the run at the second one."""
        if not self._has_begun or self._received is not None:
            raise SIGNALS[signal.Signals(number)]
        self._received = number
        with contextlib.suppress(OSError):  # not print: the signal may have come in the middle of one
            start = "\n" if os.isatty(2) else ""  # below the progress bar
            os.write(2, f"{start}{signal.Signals(number).name}: the run ends after this step, with a checkpoint; a "
                        f"second signal ends it at once\n".encode())

    def begin(self, state_bytes: int) -> None:
        """From now on there is a state, of `state_bytes` bytes, to be saved before the run ends."""
        self._has_begun = True
        self._save_seconds = state_bytes / SAVED_PER_SECOND
        self._last_step = self._clock()

    def is_due(self, in_time: bool = True) -> bool:
        """Whether to save and end now; to be called after every step or batch, whose time it measures.

        in_time: whether the limit counts, or signals only.
        """
        now = self._clock()
        self._step_seconds = max(now - self._last_step, 0.9 * self._step_seconds)  # the longest of the last ones
        self._last_step = now
        if self._received is not None:
            return True
        needed = 2.0 * self._step_seconds + 1.5 * self._save_seconds
        return in_time and self._end is not None and now + needed > self._end

    @contextlib.contextmanager
    def saving(self) -> Any:
        """Context that measures how long a checkpoint takes."""
        started = self._clock()
        yield
        self._last_step = self._clock()
        self._save_seconds = self._last_step - started

    def end(self, where: str) -> None:
        """Raise what ends the run: KeyboardInterrupt, Terminated or TimeIsUp; `where`: what has been saved."""
        raise (TimeIsUp if self._received is None else SIGNALS[signal.Signals(self._received)])(where)
