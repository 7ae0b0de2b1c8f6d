"""What Linux's control groups allow this process, such as a container's share of the cores and of the memory.

Used by: blas_threads.py, host_memory.py. Tests: reference_tests/backend/test_blas_threads.py, test_host_memory.py.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

MEMBERSHIP = "/proc/self/cgroup"
ROOT = "/sys/fs/cgroup"
Reader = Callable[[Path], float | None]


def least(controller: str, version_2: Reader, version_1: Reader, membership: str = MEMBERSHIP,
          root: str = ROOT) -> float | None:
    """The least of what the readers find in the folders of this process's groups; None without any.

    controller: "cpu" or "memory"; a reader returns None, or raises OSError or ValueError, where its folder sets no
    limit; membership: the file that names the control groups of the process; root: the folder of their settings. An
    enclosing group counts too.
    """
    try:
        lines = Path(membership).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found: list[float] = []
    for line in lines:
        _, _, rest = line.partition(":")  # "hierarchy:controllers:group"; no controllers in version 2
        controllers, colon, group = rest.partition(":")
        if not colon:
            continue
        if not controllers:
            found += _readings(Path(root), group, version_2)
        elif controller in controllers.split(","):
            found += _readings(Path(root) / controllers, group, version_1)
            found += _readings(Path(root) / controller, group, version_1)
    return min(found, default=None)


def _readings(root: Path, group: str, read: Reader) -> Iterator[float]:
    """What is read of a group and of all groups around it, up to the folder `root`.

    A container may see the group's name on the host but only its own folder: folders that are missing are passed over.
    """
    names = [name for name in group.split("/") if name not in ("", ".", "..")]
    for depth in range(len(names) + 1):
        try:
            reading = read(root.joinpath(*names[:depth]))
        except (OSError, ValueError):
            continue
        if reading is not None:
            yield reading
