"""Memory that detects access out of bounds: an allocation starts as NaN and lies between inaccessible pages.

The rest of its first page, and the bytes between its end and the next multiple of 16, contain `CANARY`: NaN when read
as any floating type. A changed canary shows a write out of bounds.
"""

import bisect
import ctypes
import mmap
import weakref

PAGE = mmap.PAGESIZE
WALL = 256 * PAGE  # on either side; addresses cost nothing
CANARY = b"\xfe\xff"
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_addresses, _live, _blocks = [], {}, weakref.WeakSet()  # of all blocks: addresses in order; sizes by address


def _canary(start, length):
    return (CANARY * (length // 2 + 1))[start % 2:][:length]


class Block:
    """`size` bytes of 0xff (NaN, or -1) between inaccessible pages; the address is a multiple of 16."""

    def __init__(self, size):
        self.size = size
        body = max(PAGE, (size + PAGE - 1) // PAGE * PAGE)
        self._mapped = body + 2 * WALL
        self._mapping = _libc.mmap(None, self._mapped, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        if self._mapping in (None, ctypes.c_void_p(-1).value) or _libc.mprotect(
                self._mapping + WALL, body, mmap.PROT_READ | mmap.PROT_WRITE):
            raise MemoryError(f"{size} bytes between guard pages")
        self.address = self._mapping + WALL + body - (size + 15) // 16 * 16
        self._around = [(start, stop - start) for start, stop in (
            (self._mapping + WALL, self.address), (self.address + size, self._mapping + WALL + body))]
        ctypes.memset(self.address, 0xFF, size)
        for start, length in self._around:
            ctypes.memmove(start, _canary(start, length), length)
        bisect.insort(_addresses, self.address)
        _live[self.address] = size
        _blocks.add(self)

    def buffer(self):
        """The bytes as a ctypes array, which keeps this block alive."""
        array = (ctypes.c_ubyte * self.size).from_address(self.address)
        array.block = self
        return array

    def intact(self):
        """Whether the bytes between this block and the inaccessible pages are as they were."""
        return all(ctypes.string_at(start, length) == _canary(start, length) for start, length in self._around)

    def __del__(self):
        if _addresses is None:  # the interpreter is ending, and the memory goes with the process
            return
        _addresses.pop(bisect.bisect_left(_addresses, self.address))
        del _live[self.address]
        _libc.munmap(self._mapping, self._mapped)


def blocks():
    """All blocks."""
    return list(_blocks)


def bytes_in_use():
    """The size of all blocks together."""
    return sum(list(_live.values()))


def check_range(start, size):
    """Raise KernelError unless the bytes from `start` on lie within one allocation."""
    from reference_tests.helpers.cuda_on_cpu import KernelError
    at = bisect.bisect_right(_addresses, start) - 1
    base = _addresses[at] if at >= 0 else 0
    if at < 0 or start + size > base + _live[base]:
        raise KernelError(f"{size} bytes at {start:#x} are not within one array")
