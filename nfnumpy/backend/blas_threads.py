"""How many threads compute, and the settings of BLAS, the interpreter and NumPy under which they do.

Each thread computes single-threaded BLAS products on its own part of the batch. BLAS's own threads wait for each other
in busy loops: on a machine that runs anything else, products on them took ten to thirty times as long as on ours
(docs/performance.md).
"""

import contextlib
import functools
import itertools
import math
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import threadpoolctl

from ..errors import InputError
from . import control_groups
from .forking import at_fork

MOST_THREADS = 256  # far more than cores only costs: docs/training.md has the times; thousands are a typing error
SWITCH_INTERVAL = 2e-5  # seconds
UFUNC_BUFFER = 1024  # values


@functools.cache
def thread_count() -> int:
    """How many threads compute: NFNUMPY_THREADS, or the number of cores that this process may use.

    That number respects the process's CPU affinity and the CPU quota of its control group (containers). InputError if
    NFNUMPY_THREADS is not a whole number from 1 to 256.
    """
    given = os.environ.get("NFNUMPY_THREADS")
    if given:
        return _parse_thread_count(given)
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = cpu_quota()
    if quota is not None:
        cores = min(cores, max(1, math.ceil(quota)))  # rounded up, so that the whole quota is used
    return min(cores, MOST_THREADS)


def _parse_thread_count(given: str) -> int:
    count = int(given) if re.fullmatch("[0-9]{1,9}", given) else 0
    if not 1 <= count <= MOST_THREADS:
        raise InputError(f"NFNUMPY_THREADS={given[:40]!r}: expected a whole number from 1 to {MOST_THREADS} "
                         f"(threads beyond the number of cores only wait)")
    return count


def cpu_quota(membership: str = control_groups.MEMBERSHIP, root: str = control_groups.ROOT) -> float | None:
    """The CPU quota of this process's control group in cores, such as 1.5; None without a quota or outside of Linux.

    membership: the file that names the control groups of the process; root: the folder where their settings are. A
    quota of an enclosing group counts too: the least is returned. Version 2 (cpu.max) and version 1
    (cpu.cfs_quota_us) of control groups are read.
    """
    return control_groups.least("cpu", _quota_of_version_2, _quota_of_version_1, membership, root)


def _quota_of_version_2(folder: Path) -> float | None:
    quota, period = (folder / "cpu.max").read_text().split()
    return None if quota == "max" or int(quota) <= 0 else int(quota) / max(1, int(period))


def _quota_of_version_1(folder: Path) -> float | None:
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    return None if quota <= 0 else quota / max(1, int((folder / "cpu.cfs_period_us").read_text()))


class _ProcessSetting:
    """A context that changes a setting of the whole process.

    The first thread to enter changes it, the last to leave restores it. Contexts may nest, and those of several threads
    may overlap in any order.
    """

    def __init__(self, read: Callable[[], Any], change: Callable[[Any], None],
                 restore: Callable[[Any], None]) -> None:
        self._read, self._change, self._restore = read, change, restore
        self._before: Any = None  # what read() returned before the change; None while the setting is not changed
        self._entered = 0  # contexts of all threads
        self._of_thread = threading.local()  # .entered: contexts of the current thread
        self._lock = threading.RLock()  # re-entrant, for a signal handler that computes

    def __enter__(self) -> None:
        is_entered = False
        try:
            with self._lock:
                entered_here = self._entered_here() + 1
                if not self._entered:
                    if self._before is None:  # else the last entry was interrupted below
                        self._before = self._read()
                    self._change(self._before)
                self._entered += 1
                self._of_thread.entered = entered_here
                is_entered = True
        except BaseException:  # an interruption
            if is_entered:
                self.__exit__()
            raise

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._of_thread.entered -= 1
            self._entered -= 1
            if not self._entered:
                self._restore(self._before)
                self._before = None

    def _entered_here(self) -> int:
        return getattr(self._of_thread, "entered", 0)

    def before_fork(self) -> None:
        """Wait until no other thread is changing the setting, and keep it so until the fork is over.

        OpenBLAS ends its threads at a fork. If another thread started them again meanwhile, the child would wait for
        threads that it lacks.
        """
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Let other threads change the setting again."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """End the contexts of all threads but this one, which alone is left."""
        self._lock = threading.RLock()
        self._entered = self._entered_here()
        if not self._entered and self._before is not None:
            self._restore(self._before)
            self._before = None


class _BlasLibrary(NamedTuple):
    """The functions that read and change the number of threads of one BLAS library."""

    read: Callable[[], int]
    change: Callable[[int], object]


@functools.cache
def _blas_libraries() -> list[_BlasLibrary]:
    return [_blas_library(controller)
            for controller in threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers]


def _blas_library(controller: Any) -> _BlasLibrary:
    """The functions of the library of one of threadpoolctl's controllers.

    For OpenBLAS they are the C functions themselves, which take less than 1 µs. threadpoolctl's take 5 µs from version
    3.8, and ignore every thread but the first that set the number; here the contexts above coordinate the threads.
    """
    if controller.internal_api == "openblas" and controller.threading_layer != "openmp":
        for prefix, suffix in itertools.product(("", "scipy_"), ("", "64_", "_64")):
            names = [f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set")]
            if all(hasattr(controller.dynlib, name) for name in names):
                return _BlasLibrary(*(getattr(controller.dynlib, name) for name in names))
    return _BlasLibrary(controller.get_num_threads, controller.set_num_threads)


def _read_blas_threads() -> list[int]:
    return [library.read() for library in _blas_libraries()]


def _confine_blas(before: list[int]) -> None:
    for library, count in zip(_blas_libraries(), before, strict=True):
        if count != 1:
            library.change(1)


def _restore_blas(before: list[int]) -> None:
    for library, count in zip(_blas_libraries(), before, strict=True):
        if count != 1:
            library.change(count)


def _shorten_switch_interval(before: float) -> None:
    sys.setswitchinterval(min(before, SWITCH_INTERVAL))


_single_threaded_blas = _ProcessSetting(_read_blas_threads, _confine_blas, _restore_blas)
_short_switch_interval = _ProcessSetting(sys.getswitchinterval, _shorten_switch_interval, sys.setswitchinterval)
for _setting in (_single_threaded_blas, _short_switch_interval):
    at_fork(before=_setting.before_fork, after_in_parent=_setting.after_fork_in_parent,
            after_in_child=_setting.after_fork_in_child)


def single_threaded_blas() -> contextlib.AbstractContextManager[None]:
    """Context in which a BLAS product runs on the thread that calls it, in the whole process.

    The last of overlapping contexts restores what was set before the first.
    """
    return _single_threaded_blas


def short_switch_interval() -> contextlib.AbstractContextManager[None]:
    """Context in which a thread waits for the interpreter's lock at most 20 µs instead of Python's 5 ms.

    It applies to the whole process; the last of overlapping contexts restores what was set before the first.
    """
    return _short_switch_interval


class _SmallUfuncBuffer:
    """One use of `small_ufunc_buffer`; a class, because contextlib's generators take 1 µs longer."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = numpy.setbufsize(UFUNC_BUFFER)

    def __exit__(self, *error: object) -> None:
        numpy.setbufsize(self._before)


def small_ufunc_buffer() -> contextlib.AbstractContextManager[None]:
    """Context of this thread in which NumPy reads rows of some hundred values in place.

    NumPy copies rows shorter than about a third of its buffer (of 8192 values by default) into that buffer first, which
    takes as long again as most operations.
    """
    return _SmallUfuncBuffer()
