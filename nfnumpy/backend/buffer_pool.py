"""Memory that arrays use one after another: a training step needs arrays of the same sizes as the step before.

The system maps and clears fresh memory page by page when it is first written, which costs more than most passes over
an array. Here the memory of an array that is gone, and all views of it, waits in a pool for the next array.

The memory is private to the process: after a fork, parent and child write into copies of their own.
"""

import bisect
import contextlib
import math
import mmap
import threading
from collections import deque
from collections.abc import Callable

import numpy
from numpy.typing import DTypeLike

from .arrays import Array
from .forking import at_fork

SMALLEST = 1 << 16  # bytes; the C library keeps smaller pieces itself
LARGE_PAGE = 1 << 21  # bytes
LARGER_BY = 1.5  # a piece may be that many times larger than the array
SPARE = 1.25  # the pool may keep that many times the bytes that were ever in use at a time …
SPARE_BYTES = 1 << 27  # … and this many more in any case: inference uses few bytes at a time, in many sizes


def spare_bytes(most: int) -> int:
    """How many bytes a pool may keep beyond the `most` that were ever in use at a time."""
    return max(round((SPARE - 1.0) * most), SPARE_BYTES)


def resident_bytes(size: int) -> int:
    """What an array of `size` bytes takes of the system's memory: whole pages, large ones where they are used."""
    if size < SMALLEST:
        return size
    page = LARGE_PAGE if size >= LARGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE") else SMALLEST
    return -(-size // page) * page


class BufferPool:
    """Pieces of memory, lent to arrays and returned when those are gone; safe to use from several threads."""

    def __init__(self) -> None:
        self.lent_bytes = 0
        self.most_lent_bytes = 0
        self.waiting_bytes = 0
        self._waiting: list[tuple[int, int, numpy.ndarray]] = []  # (size, -turn, piece), sorted: of equals the last
        self._returned: deque[numpy.ndarray] = deque()  # by finalizers, which may run anywhere, even in a method below
        self._turn = 0
        self._is_open = True
        self._lock = threading.Lock()

    def take(self, size: int) -> numpy.ndarray:
        """A piece (bytes) of at least `size` bytes."""
        size = -(-size // SMALLEST) * SMALLEST
        with self._lock:
            self._collect()
            position = bisect.bisect_left(self._waiting, (size,))
            if position < len(self._waiting) and self._waiting[position][0] <= LARGER_BY * size:
                size, _, piece = self._waiting.pop(position)
                self.waiting_bytes -= size
            else:
                most = max(self.most_lent_bytes, self.lent_bytes + size)
                self._shrink(most + spare_bytes(most) - self.lent_bytes - size)
                piece = _fresh(size)
            self.lent_bytes += size
            self.most_lent_bytes = max(self.most_lent_bytes, self.lent_bytes)
        return piece

    def give_back(self, piece: numpy.ndarray) -> None:
        """Return a piece that is no longer in use. It takes no lock, so that finalizers can call it."""
        if self._is_open:
            self._returned.append(piece)

    def release(self) -> None:
        """Return all waiting memory to the system, and forget how many bytes were in use."""
        with self._lock:
            self._collect()
            self._shrink(0)
            self.most_lent_bytes = self.lent_bytes

    def close(self) -> None:
        """In a forked child: free the parent's waiting pieces, and from now on every piece that comes back.

        It takes no lock: another thread of the parent may have held it.
        """
        self._is_open = False
        self._waiting = []
        self._returned.clear()

    def _collect(self) -> None:
        while self._returned:
            piece = self._returned.popleft()
            size = piece.size
            self._turn += 1
            bisect.insort(self._waiting, (size, -self._turn, piece))
            self.lent_bytes -= size
            self.waiting_bytes += size

    def _shrink(self, most: float) -> None:
        """Free the largest pieces until at most `most` bytes wait."""
        while self._waiting and self.waiting_bytes > most:
            self.waiting_bytes -= self._waiting.pop()[0]


def _fresh(size: int) -> numpy.ndarray:
    """`size` bytes of the system's memory, in large pages where it has them; freed as soon as the array is gone."""
    spare = LARGE_PAGE if size >= LARGE_PAGE else 0
    try:
        if hasattr(mmap, "MAP_PRIVATE"):
            mapping = mmap.mmap(-1, size + spare, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        else:  # Windows, where processes never share memory by being forked
            mapping = mmap.mmap(-1, size + spare)
    except OSError as error:
        raise MemoryError(f"no memory for an array of {size} bytes") from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a system without them
            mapping.madvise(mmap.MADV_HUGEPAGE)
    piece = numpy.frombuffer(mapping, dtype=numpy.uint8)
    start = -piece.ctypes.data % LARGE_PAGE if spare else 0
    return piece[start:start + size]


class _PooledBuffer:
    """The base of an array and its views: when the last of them is gone, the piece returns to its pool."""

    __slots__ = ("__array_interface__", "give_back", "piece")

    def __init__(self, piece: numpy.ndarray, shape: tuple[int, ...], dtype: numpy.dtype,
                 give_back: Callable[[numpy.ndarray], None]) -> None:
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str,
                                    "data": (piece.ctypes.data, False)}
        self.piece = piece
        self.give_back = give_back

    def __del__(self) -> None:
        self.give_back(self.piece)


pool = BufferPool()


def _renew_pool() -> None:
    global pool
    pool.close()
    pool = BufferPool()


at_fork(after_in_child=_renew_pool)


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> numpy.ndarray:
    """A NumPy array of this shape and dtype with arbitrary values."""
    dtype = numpy.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST:
        return numpy.empty(shape, dtype)
    return numpy.asarray(_PooledBuffer(pool.take(size), shape, dtype, pool.give_back))


def copy_into_pool(array: Array) -> Array:
    """A copy of a NumPy array in memory of the pool; an array of another backend as it is.

    It is for arrays that are replaced often, such as parameters: their memory serves the next ones.
    """
    if not isinstance(array, numpy.ndarray):
        return array
    copy = empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def owns_its_memory(array: Array) -> bool:
    """Whether an array of any backend is no view of another array."""
    return array.base is None or isinstance(array.base, _PooledBuffer)
