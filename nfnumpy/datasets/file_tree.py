"""The image files below a folder, held compactly: a million files take some fifty megabytes.

Used by: listing.py, index_file.py, folder.py. Test: reference_tests/datasets/test_listing.py.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import overload

import numpy as np

Stamp = tuple[int, int, int]  # of a folder: times of modification and of change of status in ns, number of the inode
UNKNOWN: Stamp = (0, 0, 0)  # the stamp of a folder that must be listed again


@dataclass(frozen=True)
class Folder:
    """One folder of a tree.

    path: relative to the root, with "/", "" for the root itself; files: number of images directly in it; folders: names
    of its sub-folders, sorted; others: ending -> number of the files that are no images.
    """

    path: str
    stamp: Stamp
    files: int
    folders: tuple[str, ...]
    others: dict[str, int]


@dataclass(frozen=True)
class FileTree:
    """The images below the folder `root`: folder by folder, the files of a folder before those of its sub-folders.

    names: the encoded file names, end to end; lengths uint16 (N,): of each name in bytes; sizes int64 (N,): of the
    files in bytes; times int64 (N,): of their modification, in ns.
    """

    root: str
    folders: Sequence[Folder]
    names: bytes
    lengths: np.ndarray
    sizes: np.ndarray
    times: np.ndarray
    starts: np.ndarray = field(init=False)  # of each folder's files, int64 (folders + 1,)
    ends: np.ndarray = field(init=False)  # of each name, int64 (N,)

    def __post_init__(self) -> None:
        counts = np.array([folder.files for folder in self.folders], dtype=np.int64)
        object.__setattr__(self, "starts", np.concatenate([[0], np.cumsum(counts)]))
        object.__setattr__(self, "ends", np.cumsum(self.lengths, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.lengths)

    def name(self, index: int) -> str:
        """The path of a file, relative to the root, with "/"."""
        folder = self.folders[int(np.searchsorted(self.starts, index, side="right")) - 1]
        end = int(self.ends[index])
        name = os.fsdecode(self.names[end - int(self.lengths[index]):end])
        return f"{folder.path}/{name}" if folder.path else name

    def encoded_names(self) -> Iterator[bytes]:
        """The paths of all files in order, relative to the root, encoded; much faster than `name` for each."""
        start = 0
        for folder, first, last in zip(self.folders, self.starts, self.starts[1:], strict=False):
            beginning = os.fsencode(f"{folder.path}/") if folder.path else b""
            for end in self.ends[first:last].tolist():
                yield beginning + self.names[start:end]
                start = end


class FileList(Sequence[str]):
    """The paths of those files of a tree that `selected` bool (N,) chooses, made when one is asked for."""

    def __init__(self, tree: FileTree, selected: np.ndarray) -> None:
        self.tree = tree
        self.selected = selected
        self.numbers = np.flatnonzero(selected)

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return os.path.join(self.tree.root, self.tree.name(self.numbers[index]))

    def names_and_sizes(self) -> Iterator[tuple[str, int]]:
        """(path relative to the root, size in bytes) of every file."""
        for name, size in compress(zip(self.tree.encoded_names(), self.tree.sizes, strict=True), self.selected):
            yield os.fsdecode(name), int(size)
