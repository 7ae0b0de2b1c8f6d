"""Memory that was freed is used again without page faults."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy
from nfnumpy.backend.freed_memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        numpy.ones(1 << 20, numpy.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
numpy.ones(1 << 20, numpy.uint8), numpy.ones(1 << 20, numpy.uint8)
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of GNU's malloc")
def test_freed_blocks_of_a_megabyte_are_not_faulted_in_again():
    """50 blocks of at least 256 pages each: less than one page a block is faulted in."""
    faults = int(subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True).stdout)
    assert faults < 50
