"""Memory in which straying is noticed: every allocation ends at a page that nobody may touch and starts as NaN."""

import bisect
import ctypes
import mmap

PAGE = mmap.PAGESIZE
CANARY = 0xA5
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_addresses, _live = [], {}  # of all blocks, in order


class Block:
    """`size` bytes of 0xff (NaN, or -1) between untouchable pages; the address is a multiple of 16."""

    def __init__(self, size):
        self.size = size
        body = max(PAGE, (size + PAGE - 1) // PAGE * PAGE)
        self._mapped = body + 2 * PAGE
        self._mapping = _libc.mmap(None, self._mapped, mmap.PROT_READ | mmap.PROT_WRITE,
                                   mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        if self._mapping in (None, ctypes.c_void_p(-1).value):
            raise MemoryError(f"{size} bytes between guard pages")
        _libc.mprotect(self._mapping, PAGE, 0)
        _libc.mprotect(self._mapping + PAGE + body, PAGE, 0)
        self._slack = -size % 16
        self.address = self._mapping + PAGE + body - size - self._slack
        ctypes.memset(self.address, 0xFF, size)
        ctypes.memset(self.address + size, CANARY, self._slack)
        bisect.insort(_addresses, self.address)
        _live[self.address] = (size, self._slack)

    def buffer(self):
        """The bytes as a ctypes array, which keeps this block alive."""
        array = (ctypes.c_ubyte * self.size).from_address(self.address)
        array.block = self
        return array

    def intact(self):
        """Whether the few bytes between the end and the untouchable page are as they were."""
        return ctypes.string_at(self.address + self.size, self._slack) == bytes([CANARY]) * self._slack

    def __del__(self):
        _addresses.pop(bisect.bisect_left(_addresses, self.address))
        del _live[self.address]
        _libc.munmap(self._mapping, self._mapped)


def check_range(start, size):
    """Raise KernelError unless the bytes from `start` on lie within one allocation."""
    from . import KernelError
    at = bisect.bisect_right(_addresses, start) - 1
    base = _addresses[at] if at >= 0 else 0
    if at < 0 or start + size > base + _live[base][0]:
        raise KernelError(f"{size} bytes at {start:#x} are not within one array")
