"""Listing the images below a folder; of a tree that was listed before, only the folders that changed since.

A folder's entries are those that were listed if its stamp is the same: adding, removing and renaming a file change its
times. A file whose content is overwritten in place changes no folder.

Used by: index_file.py, evaluation/sources.py. Test: reference_tests/datasets/test_listing.py.
"""

import os
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from .decoders import ENDINGS
from .file_tree import UNKNOWN, FileTree, Folder, Stamp

# A file may be added without changing the folder's times, if they are as fine as this only: ns.
COARSEST_TIME = 2 * 10**9


def list_images(root: str | os.PathLike[str], known: FileTree | None = None) -> FileTree:
    """The tree of the image files at any depth below `root`; hidden files and folders are left out, links followed.

    known: the tree as it was listed before, whose unchanged folders are not read again; `known` itself is returned if
    nothing changed. InputError for a folder that cannot be read, and for a link to a folder that contains it.
    """
    root = os.fspath(root)
    walk = _Walk(root, known)
    walk.run()
    return known if known is not None and not walk.has_changed else walk.tree()


def image_files(directory: str | os.PathLike[str]) -> Iterator[str]:
    """The paths of the image files below a folder, in the order of list_images; InputError as it raises it."""
    tree = list_images(directory)
    for name in tree.encoded_names():
        yield os.path.join(tree.root, os.fsdecode(name))


@dataclass
class _Scanned:
    """The content of one folder: names, sizes and times of its images in order, and a record of it."""

    folder: Folder
    names: bytes
    lengths: array
    sizes: array
    times: array


@dataclass
class _Walk:
    """The state of one walk through the folders below `root`."""

    root: str
    known: FileTree | None
    has_changed: bool = False
    folders: list[Folder] = field(default_factory=list)
    names: bytearray = field(default_factory=bytearray)
    lengths: array = field(default_factory=lambda: array("H"))
    sizes: array = field(default_factory=lambda: array("q"))
    times: array = field(default_factory=lambda: array("q"))

    def run(self) -> None:
        """Visit the root and every folder below it, a folder before its sub-folders."""
        folders = () if self.known is None else self.known.folders
        numbers = {folder.path: number for number, folder in enumerate(folders)}
        waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", ())]
        while waiting:
            path, above = waiting.pop()
            place = os.path.join(self.root, path) if path else self.root
            status = _status(place)
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                raise InputError(f"{place}: expected a folder, but it is a link to {os.path.realpath(place)}, which "
                                 f"contains it")
            stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            number = numbers.pop(path, None)
            if number is not None and folders[number].stamp == stamp:
                self._keep(number)
            else:
                self._add(_scan(place, path, stamp))
            beginning = f"{path}/" if path else ""
            waiting += [(beginning + name, (*above, identity)) for name in reversed(self.folders[-1].folders)]
        self.has_changed |= bool(numbers)

    def _keep(self, number: int) -> None:
        """Take over a folder of the known tree."""
        tree = self.known
        assert tree is not None
        first, last = tree.starts[number:number + 2]
        start = tree.ends[first - 1] if first else 0
        end = tree.ends[last - 1] if last else 0
        self.folders.append(tree.folders[number])
        self.names += tree.names[start:end]
        self.lengths.frombytes(tree.lengths[first:last].tobytes())
        self.sizes.frombytes(tree.sizes[first:last].tobytes())
        self.times.frombytes(tree.times[first:last].tobytes())

    def _add(self, scanned: _Scanned) -> None:
        """Add a folder that was read."""
        self.has_changed = True
        self.folders.append(scanned.folder)
        self.names += scanned.names
        self.lengths += scanned.lengths
        self.sizes += scanned.sizes
        self.times += scanned.times

    def tree(self) -> FileTree:
        """What was listed."""
        return FileTree(self.root, self.folders, bytes(self.names), np.frombuffer(self.lengths, np.uint16),
                        np.frombuffer(self.sizes, np.int64), np.frombuffer(self.times, np.int64))


def _status(place: str) -> os.stat_result:
    try:
        return os.stat(place)
    except (OSError, ValueError) as error:
        raise InputError(f"{place}: expected a folder that can be read: {error}") from error


def _scan(place: str, path: str, stamp: Stamp) -> _Scanned:
    """Read the folder at `place`, which is `path` in its tree."""
    images: list[tuple[str, int, int]] = []
    folders: list[str] = []
    others: Counter[str] = Counter()
    if time.time_ns() - stamp[0] < COARSEST_TIME:
        stamp = UNKNOWN
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                elif entry.name.lower().endswith(ENDINGS) and entry.is_file():
                    status = entry.stat()
                    images.append((entry.name, status.st_size, status.st_mtime_ns))
                else:
                    others[os.path.splitext(entry.name)[1].lower()] += 1
    except (OSError, ValueError) as error:
        raise InputError(f"{place}: expected a folder that can be read: {error}") from error
    images.sort()
    names = [os.fsencode(name) for name, _, _ in images]
    folder = Folder(path, stamp, len(images), tuple(sorted(folders)), dict(others))
    return _Scanned(folder, b"".join(names), array("H", map(len, names)), array("q", (size for _, size, _ in images)),
                    array("q", (modified for _, _, modified in images)))
