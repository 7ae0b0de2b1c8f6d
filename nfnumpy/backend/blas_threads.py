"""Who owns the cores: our threads, each computing single-threaded BLAS products on its own part of the batch.

BLAS's own threads wait for each other busily: on a machine that does anything else besides, products on them were
measured ten to thirty times slower than on ours (docs/performance.md).
"""

import contextlib
import functools
import os
import sys

import numpy
import threadpoolctl

from ..errors import InputError

TURN = 2e-5  # seconds

@functools.cache
def thread_count():
    """How many threads compute: NFNUMPY_THREADS, or as many as this process may use cores."""
    wish = os.environ.get("NFNUMPY_THREADS")
    if wish:
        if not wish.isdecimal() or int(wish) < 1:
            raise InputError(f"NFNUMPY_THREADS={wish!r}: expected a whole number above 0")
        return int(wish)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _blas_libraries():
    return threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers


@contextlib.contextmanager
def single_threaded_blas():
    """Context in which a BLAS product runs on the thread that asks for it; what was set before is restored."""
    before = [(library, library.num_threads) for library in _blas_libraries()]
    try:
        for library, threads in before:
            if threads != 1:
                library.set_num_threads(1)
        yield
    finally:
        for library, threads in before:
            if threads != 1:
                library.set_num_threads(threads)


@contextlib.contextmanager
def short_switch_interval():
    """Context in which a thread that asks for the interpreter's lock has it a moment later, not after Python's 5 ms."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, TURN))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextlib.contextmanager
def small_ufunc_buffer():
    """Context in which NumPy walks rows of some hundred values where they lie.

    It copies rows shorter than about a third of its buffer (of 8192 values by default) into that buffer first, which
    takes as long again as most operations.
    """
    before = numpy.setbufsize(1024)
    try:
        yield
    finally:
        numpy.setbufsize(before)
