"""Memory that is used again: a training step asks for the same arrays as the one before.

Fresh memory is mapped and cleared by the system page by page when it is first written, which costs more than most
passes over an array. Here the memory of an array that nobody holds any more, nor a view of it, waits for the next.
"""

import bisect
import contextlib
import math
import mmap
import threading
from collections import deque

import numpy

SMALLEST = 1 << 16  # bytes; the C library keeps smaller pieces itself
LARGE_PAGE = 1 << 21  # bytes
LARGER_BY = 1.5  # a piece may be that much larger than what is asked of it
SPARE = 1.25  # how much more than was ever in use at a time may be kept …
SPARE_BYTES = 1 << 27  # … but this much in any case: inference uses little at a time, of many sizes


class BufferPool:
    """Pieces of memory, lent to arrays and returned when they are gone; safe to use from several threads."""

    def __init__(self):
        self.lent_bytes = self.most_lent_bytes = self.waiting_bytes = 0
        self._waiting = []  # (size, -turn, piece), sorted: the smallest first, of equals the last returned
        self._returned = deque()  # filled when arrays die, which may happen anywhere, even below
        self._turn = 0
        self._lock = threading.Lock()

    def take(self, size):
        """A piece of `size` bytes or somewhat more."""
        size = -(-size // SMALLEST) * SMALLEST
        with self._lock:
            self._collect()
            place = bisect.bisect_left(self._waiting, (size,))
            if place < len(self._waiting) and self._waiting[place][0] <= LARGER_BY * size:
                size, _, piece = self._waiting.pop(place)
                self.waiting_bytes -= size
            else:
                most = max(self.most_lent_bytes, self.lent_bytes + size)
                self._shrink(max(SPARE * most, most + SPARE_BYTES) - self.lent_bytes - size)
                piece = _fresh(size)
            self.lent_bytes += size
            self.most_lent_bytes = max(self.most_lent_bytes, self.lent_bytes)
        return piece

    def give_back(self, piece):
        """Return a piece that nobody uses; never waits."""
        self._returned.append(piece)

    def release(self):
        """Give all memory that waits back to the system, and forget how much there was."""
        with self._lock:
            self._collect()
            self._shrink(0)
            self.most_lent_bytes = self.lent_bytes

    def _collect(self):
        while self._returned:
            piece = self._returned.popleft()
            size = piece.size
            self._turn += 1
            bisect.insort(self._waiting, (size, -self._turn, piece))
            self.lent_bytes -= size
            self.waiting_bytes += size

    def _shrink(self, most):
        """Let go of the largest pieces until `most` bytes wait."""
        while self._waiting and self.waiting_bytes > most:
            self.waiting_bytes -= self._waiting.pop()[0]


def _fresh(size):
    """Memory straight from the system, which has it back the moment it is let go, in large pages where it has them."""
    spare = LARGE_PAGE if size >= LARGE_PAGE else 0
    try:
        piece = mmap.mmap(-1, size + spare)
    except OSError as error:
        raise MemoryError(f"no memory for an array of {size} bytes") from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a system without them
            piece.madvise(mmap.MADV_HUGEPAGE)
    piece = numpy.frombuffer(piece, dtype=numpy.uint8)
    start = -piece.ctypes.data % LARGE_PAGE if spare else 0
    return piece[start:start + size]


class _PooledBuffer:
    """What an array and its views have for a base: it lives as long as one of them does."""

    __slots__ = ("__array_interface__", "piece", "give_back")

    def __init__(self, piece, shape, dtype, give_back):
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str,
                                    "data": (piece.ctypes.data, False)}
        self.piece, self.give_back = piece, give_back

    def __del__(self):
        self.give_back(self.piece)


pool = BufferPool()


def empty(shape, dtype):
    """A NumPy array of this shape (a tuple) and dtype, with whatever values were there."""
    dtype = numpy.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST:
        return numpy.empty(shape, dtype)
    return numpy.asarray(_PooledBuffer(pool.take(size), shape, dtype, pool.give_back))


def copy_into_pool(array):
    """A copy of an array that will be held for long and replaced often, as parameters are; others than NumPy's as is.

    Like what replaces it, it leaves its memory to the next.
    """
    if not isinstance(array, numpy.ndarray):
        return array
    copy = empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def owns_its_memory(array):
    """Whether an array of any backend is nobody's view."""
    return array.base is None or isinstance(array.base, _PooledBuffer)
