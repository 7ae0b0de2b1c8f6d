"""Signals to the whole process group, as from Ctrl-C, while a process starts that is to leave them to its parent.

Used by: loader_process.py. Test: reference_tests/datasets/test_loader_process.py.
"""

import multiprocessing.resource_tracker
import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)
CAN_HOLD = hasattr(signal, "pthread_sigmask")  # Windows cannot


@contextmanager
def held_signals() -> Iterator[None]:
    """Context in which SIGINT and SIGTERM wait, for this thread and in processes that it starts, where signals can.

    A started process holds them until it calls `ignore_signals`.
    """
    if not CAN_HOLD:
        yield
        return
    # First: multiprocessing starts its tracker before the first process, and lets the signals through after that.
    multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_signals() -> None:
    """Ignore SIGINT and SIGTERM in this process from now on, also those that were held."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if CAN_HOLD:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
