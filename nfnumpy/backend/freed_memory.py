"""Keeping freed memory in the process, where the C library gives it back to the system.

GNU's malloc maps blocks above 128 kB anew for every request, so decoding a picture of 500 pixels takes several hundred
page faults, which cost as much as the decoding. The limit rises to the size of the largest such block that was freed,
up to 32 MB, and memory of up to twice that size stays in the process.

Used by: datasets/loader.py, loader_process.py. Test: reference_tests/backend/test_freed_memory.py.
"""

import numpy

LARGEST = 31 << 20  # bytes; from 32 MiB on a block leaves the limit as it is


def keep_freed_memory() -> None:
    """Raise the limit of this process: one block is requested and freed, without being written. Harmless elsewhere."""
    numpy.empty(LARGEST, numpy.uint8)
