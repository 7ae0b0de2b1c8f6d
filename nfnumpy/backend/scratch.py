"""Scratch arrays: working memory of one thread, used again by the next request of the same name.

Fresh memory costs a page fault for every 4096 bytes when it is first written, and scratch memory that was just used is
still in the cache.
"""

import math
import sys
import threading
import weakref

import numpy
from numpy.typing import DTypeLike

from .forking import at_fork

REQUESTS_KEPT = 1 << 16  # of a thread: a buffer that none of so many requests used is freed


def _references_when_unused() -> int:
    buffers = [numpy.empty(0, dtype=numpy.uint8)]
    return sys.getrefcount(buffers[0])


_UNUSED = _references_when_unused()  # the list's, and that of the call; every view of a buffer has one more


class _Buffers:
    """The buffers of one thread: for each name a list of byte arrays, nearly always of one."""

    def __init__(self) -> None:
        self.recent: dict[str, list[numpy.ndarray]] = {}  # used since the last sweep
        self.earlier: dict[str, list[numpy.ndarray]] = {}  # not used since; the next sweep frees them
        self.requests = 0
        with _lock:
            _of_all_threads.add(self)

    def named(self, name: str) -> list[numpy.ndarray]:
        """The list of the buffers called `name`."""
        self.requests += 1
        if self.requests >= REQUESTS_KEPT:
            self.recent, self.earlier, self.requests = {}, self.recent, 0
        buffers = self.recent.get(name)
        if buffers is None:
            buffers = self.recent[name] = self.earlier.pop(name, [])
        return buffers


class _Thread(threading.local):
    def __init__(self) -> None:
        self.buffers = _Buffers()


_lock = threading.Lock()
_of_all_threads: weakref.WeakSet[_Buffers] = weakref.WeakSet()
_thread = _Thread()


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


at_fork(after_in_child=_renew_lock)


def empty(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> numpy.ndarray:
    """An array for a short time: its values are those that the last array of this `name` on this thread left there.

    A buffer is used again only when the array, and every view of it, is gone. So a nested request of the same name gets
    memory of its own.
    """
    dtype = numpy.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    buffers = _thread.buffers.named(name)
    for position in range(len(buffers)):
        if sys.getrefcount(buffers[position]) == _UNUSED:
            if buffers[position].size < size:
                buffers[position] = numpy.empty(size, dtype=numpy.uint8)
            break
    else:
        position = len(buffers)
        buffers.append(numpy.empty(size, dtype=numpy.uint8))
    return buffers[position][:size].view(dtype).reshape(shape)


def release() -> None:
    """Free the scratch memory of all threads; arrays that are in use keep theirs until they are gone."""
    with _lock:
        for buffers in list(_of_all_threads):
            buffers.recent, buffers.earlier = {}, {}
