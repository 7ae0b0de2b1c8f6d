"""Main memory: how much this process may still take.

Used by: training/memory_check.py. Test: reference_tests/backend/test_host_memory.py.
"""

import contextlib
import os
from pathlib import Path

from . import control_groups

NO_LIMIT = 1 << 60  # bytes; version 1 of control groups writes a number near 2⁶³ where there is no limit


def available(meminfo: str = "/proc/meminfo", membership: str = control_groups.MEMBERSHIP,
              root: str = control_groups.ROOT) -> int | None:
    """Bytes that can be allocated without swapping and within the control groups' limits; None where unknown.

    On Linux what the kernel says is available, in `meminfo`, and what each control group has left (membership, root:
    see control_groups.least). Elsewhere free pages, or, where the system does not tell them, all of them.
    """
    found = [_of_system(meminfo), control_groups.least("memory", _left_in_version_2, _left_in_version_1, membership,
                                                       root)]
    return min((max(0, int(size)) for size in found if size is not None), default=None)


def _of_system(meminfo: str) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(meminfo).read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    for pages in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # Windows has no sysconf
            count = os.sysconf(pages)
            if count > 0:
                return count * os.sysconf("SC_PAGE_SIZE")
    return None


def _left_in_version_2(folder: Path) -> int | None:
    limit = (folder / "memory.max").read_text().strip()
    if limit == "max":
        return None
    return int(limit) - int((folder / "memory.current").read_text()) + _reclaimable(folder, "inactive_file")


def _left_in_version_1(folder: Path) -> int | None:
    limit = int((folder / "memory.limit_in_bytes").read_text())
    if limit >= NO_LIMIT:
        return None
    used = int((folder / "memory.usage_in_bytes").read_text())
    return limit - used + _reclaimable(folder, "total_inactive_file")


def _reclaimable(folder: Path, key: str) -> int:
    """Bytes of the page cache that the kernel gives up first; they count as used, but are available."""
    for line in (folder / "memory.stat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return 0
