"""Who owns the cores: our threads, each computing single-threaded BLAS products on its own part of the batch.

BLAS's own threads wait for each other busily: on a machine that does anything else besides, products on them were
measured ten to thirty times slower than on ours (docs/performance.md).
"""

import concurrent.futures
import contextlib
import contextvars
import functools
import os

import threadpoolctl

from ..errors import InputError


@functools.cache
def count():
    """How many threads compute: NFNUMPY_THREADS, or as many as this process may use cores."""
    wish = os.environ.get("NFNUMPY_THREADS")
    if wish:
        if not wish.isdecimal() or int(wish) < 1:
            raise InputError(f"NFNUMPY_THREADS={wish!r}: expected a whole number above 0")
        return int(wish)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _pool():
    return concurrent.futures.ThreadPoolExecutor(count(), thread_name_prefix="nfnumpy")


@functools.cache
def _blas():
    return threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers


@contextlib.contextmanager
def single_threaded_blas():
    """Context in which a BLAS product runs on the thread that asks for it; what was set before is restored."""
    before = [(library, library.num_threads) for library in _blas()]
    try:
        for library, threads in before:
            if threads != 1:
                library.set_num_threads(1)
        yield
    finally:
        for library, threads in before:
            if threads != 1:
                library.set_num_threads(threads)


def in_parallel(function, pieces):
    """[function(piece) for piece in pieces], on our threads; the order of the results is that of the pieces."""
    pieces = list(pieces)
    with single_threaded_blas():
        if len(pieces) < 2:
            return [function(piece) for piece in pieces]
        # A thread knows nothing of its caller's contexts (reference, no_grad, warnings) unless it is handed a copy.
        futures = [_pool().submit(contextvars.copy_context().run, function, piece) for piece in pieces]
        return [future.result() for future in futures]


def shares(length):
    """`range(length)` cut into as many even slices as there are threads, none of them empty."""
    parts = max(1, min(count(), length))
    return [slice(length * k // parts, length * (k + 1) // parts) for k in range(parts)]
