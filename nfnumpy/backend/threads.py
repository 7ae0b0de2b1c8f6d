"""Who owns the cores: our threads, each computing single-threaded BLAS products on its own part of the batch.

BLAS's own threads wait for each other busily: on a machine that does anything else besides, products on them were
measured ten to thirty times slower than on ours (docs/performance.md).
"""

import contextlib
import contextvars
import functools
import math
import os
import queue
import threading

import numpy
import threadpoolctl

from ..errors import InputError

PATIENCE = 100  # looks at what the others do before going to sleep
IDLE = numpy.broadcast_to(numpy.float32(0.0), (1 << 14,))  # a sum of one value in memory takes some 3 µs


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


@contextlib.contextmanager
def short_buffers():
    """Context in which NumPy walks rows of some hundred values where they lie.

    It copies rows shorter than about a third of its buffer (of 8192 values by default) into that buffer first, which
    takes as long again as most operations.
    """
    before = numpy.setbufsize(1024)
    try:
        yield
    finally:
        numpy.setbufsize(before)


class _Job:
    """Pieces of work that whoever has time takes one of, until none is left."""

    def __init__(self, function, pieces):
        self.function, self.pieces = function, iter(list(enumerate(pieces)))
        self.results, self.errors = [None] * len(pieces), {}
        self._finished, self._last = [], queue.SimpleQueue()

    def work(self):
        """Take pieces and finish them."""
        with short_buffers():
            for position, piece in self.pieces:
                try:
                    self.results[position] = self.function(piece)
                except BaseException as error:
                    self.errors[position] = error
                self._finished.append(position)
        if self.is_done():
            self._last.put(None)

    def is_done(self):
        """Whether all pieces are finished."""
        return len(self._finished) == len(self.results)

    def wait(self):
        """Until those have finished who took the last pieces.

        Waking up takes some 60 µs, so for a while this thread stays awake, without the interpreter's lock: the others
        need it to finish.
        """
        for _ in range(PATIENCE):
            if self.is_done():
                return
            numpy.add.reduce(IDLE)
        while not self.is_done():
            self._last.get()


@functools.cache
def _helpers():
    """A queue of (context, job), which all our threads but the caller's wait at."""
    jobs = queue.SimpleQueue()

    def serve():
        while True:
            context, job = jobs.get()
            context.run(job.work)
            del context, job  # and what they hold, before the next comes

    for number in range(count() - 1):
        threading.Thread(target=serve, name=f"nfnumpy {number}", daemon=True).start()
    return jobs


def in_parallel(function, pieces):
    """[function(piece) for piece in pieces], on our threads; the order of the results is that of the pieces.

    The thread that calls is one of ours. Each takes the next piece when it is done with its last, and nobody waits for
    a thread that has not begun: what is done before it wakes up is done. Of several errors the first piece's is raised.
    """
    job = _Job(function, list(pieces))
    with single_threaded_blas():
        for _ in range(min(count(), len(job.results)) - 1):
            # A thread knows nothing of its caller's contexts (reference, no_grad, warnings) unless it has a copy.
            _helpers().put((contextvars.copy_context(), job))
        job.work()
        job.wait()
    if job.errors:
        raise job.errors[min(job.errors)]
    results, job.function, job.results = job.results, None, ()
    return results


_own = threading.local()


def scratch(name, shape, dtype):
    """Room for an array that is needed for a moment: the same memory whenever this thread asks under this `name`.

    Fresh memory costs a page fault every 4096 bytes the first time it is written. Whatever was there is still there.
    """
    rooms = _own.__dict__.setdefault("rooms", {})
    size = math.prod(shape) * numpy.dtype(dtype).itemsize
    room = rooms.get(name)
    if room is None or room.size < size:
        room = rooms[name] = numpy.empty(size, dtype=numpy.uint8)
    return room[:size].view(dtype).reshape(shape)


def even(length, parts):
    """`range(length)` cut into `parts` slices whose lengths differ by one at most; fewer where some would be empty."""
    parts = max(1, min(parts, length))
    return [slice(length * k // parts, length * (k + 1) // parts) for k in range(parts)]


def shares(length):
    """`range(length)` cut into as many even slices as there are threads, none of them empty."""
    return even(length, count())
