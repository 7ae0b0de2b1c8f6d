"""Which kernels OpenBLAS computes with. It is configured before NumPy loads it, so this module imports no NumPy.

OpenBLAS selects kernels while it is loaded: those that OPENBLAS_CORETYPE names, or else those of the CPU that it
detects. Importing this module sets the variable where that selection is known to waste half of the CPU. A variable that
is set already, even to an empty text, is the user's and stays. Child processes inherit it.

One rule has been measured to be worth it (docs/performance.md has the figures, and those against more rules): AMD's
family 26 (Zen 5 and later) computes with vectors of 512 bits, but until September 2026 (its pull request 6033) OpenBLAS
did not know that family, and it may take kernels of 256 bits. float32 products then ran at 240 GFLOP/s on two cores,
and at 470 with the kernels that OpenBLAS calls SkylakeX.
"""

import itertools
import os
import sys
import warnings
from collections.abc import Container, MutableMapping

import threadpoolctl

VARIABLE = "OPENBLAS_CORETYPE"
KERNELS = "SkylakeX"
FLAGS = {"avx2", "fma", "avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}  # what those kernels are built of
HALF_AS_WIDE = (*range(0x20, 0x30), *range(0x60, 0x70))  # models for laptops that split 512 bits in two, as Zen 4 does
OF_512_BITS = {"skylakex", "cooperlake", "sapphirerapids"}


def processor() -> dict[str, str]:
    """Linux's description of the first processor, a dict of texts; empty on other systems."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            fields = [line.partition(":") for line in itertools.takewhile(str.strip, file)]
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in fields}


def suited(processor: dict[str, str]) -> str | None:
    """The name of the kernels that suit a processor better than OpenBLAS's own choice may; None for most."""
    family, model = processor.get("cpu family"), processor.get("model", "")
    if processor.get("vendor_id") != "AuthenticAMD" or family != "26" or not model.isdecimal():
        return None
    wide = int(model) not in HALF_AS_WIDE and FLAGS.issubset(processor.get("flags", "").split())
    return KERNELS if wide and sys.maxsize > 2**32 else None


def in_use() -> list[str]:
    """The kernels of every OpenBLAS that this process has loaded, a list of names; empty with another BLAS."""
    return [library["architecture"] for library in threadpoolctl.threadpool_info()
            if library["internal_api"] == "openblas" and library["architecture"]]


def choose(processor: dict[str, str], environment: MutableMapping[str, str],
           loaded: Container[str]) -> str | None:
    """Set VARIABLE in `environment` where it helps; returns the name of the kernels, or None if nothing was set.

    loaded: the names of the modules that are imported. If NumPy is one of them, it is too late to set the variable; a
    RuntimeWarning is given if slow kernels run.
    """
    kernels = suited(processor)
    if kernels is None or VARIABLE in environment:
        return None
    if "numpy" not in loaded:
        environment[VARIABLE] = kernels
        return kernels
    slow = [name for name in in_use() if name.lower() not in OF_512_BITS]
    if slow:
        warnings.warn(f"NumPy was imported before nfnumpy, and its OpenBLAS runs {slow[0]} kernels, about half as fast "
                      f"on this CPU as {kernels}: import nfnumpy first, or set {VARIABLE}={kernels}", RuntimeWarning,
                      stacklevel=5)  # the line that imports nfnumpy, which imports backend, which imports this module
    return None


def remark(threads: int) -> str | None:
    """A line for a command to open with if kernels were chosen here and run; None otherwise."""
    if CHOSEN is None or CHOSEN not in in_use():
        return None
    return (f"OpenBLAS runs {CHOSEN} kernels, chosen for this CPU ({VARIABLE} overrides), on {threads} "
            f"thread{'s' if threads > 1 else ''}")


CHOSEN = choose(processor(), os.environ, sys.modules)
