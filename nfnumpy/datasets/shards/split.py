"""Labelled images in tar shards, read by index: no order of reading is faster than another, so every order is exact.

Used by: opening.py. Test: reference_tests/datasets/test_shards.py.
"""

import io
import os
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from ...errors import InputError
from ..dataset import Split
from ..reading import EvalTransform, ImageReader
from .index import ShardIndex


class ShardSplit(Split):
    """A split of the images in tar files, decoded each time one is read, by any thread or process.

    paths: of the shards. indices: the ShardIndex of each. reader: what decodes an image; `image_size` pixels mean the
    plain one. selected: bool, which of all images of the shards belong to the split; None for all.
    """

    def __init__(self, paths: Sequence[str], indices: Sequence[ShardIndex], reader: ImageReader | int,
                 selected: np.ndarray | None = None) -> None:
        self.reader = ImageReader(reader) if isinstance(reader, int) else reader
        labels = all_labels(indices)
        self.numbers = np.arange(len(labels)) if selected is None else np.flatnonzero(selected)
        super().__init__(labels[self.numbers], self.reader.size)
        self.paths = tuple(paths)
        self.indices = tuple(indices)
        self._ends = np.cumsum([len(index) for index in indices], dtype=np.int64)

    @property
    def ignored(self) -> dict[str, int]:
        """Field -> number of the members that are neither image nor label."""
        return dict(sum((Counter(index.ignored) for index in self.indices), Counter()))

    @property
    def transform(self) -> EvalTransform:
        """How the reader resizes and cuts an image."""
        return self.reader.transform

    def read(self, index: int) -> np.ndarray:
        """One image, decoded from its shard: uint8 (image_size, image_size, 3)."""
        return self.reader.square(io.BytesIO(self._content(index)), self.name(index))

    def read_whole(self, index: int) -> np.ndarray:
        """One image of the size that it has in its shard, uint8 (H, W, 3)."""
        return self.reader.whole(io.BytesIO(self._content(index)), self.name(index))

    def dimensions(self, index: int) -> tuple[int, int]:
        """(width, height) in pixels of one image, of which only the header is decoded."""
        return self.reader.dimensions(io.BytesIO(self._content(index)), self.name(index))

    def encoded(self, index: int) -> tuple[bytes, str]:
        """(content, ending) of an image as it is in its shard."""
        return self._content(index), os.path.splitext(self.name(index))[1]

    def _content(self, index: int) -> bytes:
        """The bytes of one image as they are in its shard; InputError if the shard has changed since it was indexed."""
        shard, position = self._place(index)
        path, known = self.paths[shard], self.indices[shard]
        # Every reading opens the file for itself: no descriptor is shared between threads or inherited by a process,
        # and thousands of shards need no more of them than there are threads.
        try:
            with open(path, "rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                file.seek(known.offsets[position])
                content = file.read(known.sizes[position])
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
        if (status.st_size, status.st_mtime_ns) != (known.size, known.time) or len(content) != known.sizes[position]:
            raise InputError(f"{path}: has changed since it was opened")
        return content

    def name(self, index: int) -> str:
        """The shard and the image's name in it."""
        shard, position = self._place(index)
        return f"{self.paths[shard]}: {self.indices[shard].name(position)}"

    def inventory(self) -> Iterator[tuple[str, int, int]]:
        """(name in its shard, label, size in bytes) of every image: as of the folder that the shards were made of."""
        for known, end in zip(self.indices, self._ends, strict=True):
            first, last = np.searchsorted(self.numbers, (end - len(known), end))
            positions = self.numbers[first:last] - (end - len(known))
            for position, label, size in zip(positions.tolist(), known.labels[positions].tolist(),
                                             known.sizes[positions].tolist(), strict=True):
                yield known.name(position), label, size

    def _place(self, index: int) -> tuple[int, int]:
        """(number of the shard, position in it) of an image."""
        number = int(self.numbers[index])
        shard = int(np.searchsorted(self._ends, number, side="right"))
        return shard, number - (int(self._ends[shard - 1]) if shard else 0)


def all_labels(indices: Sequence[ShardIndex]) -> np.ndarray:
    """The labels of all images of the shards, int64 (N,)."""
    return np.concatenate([np.zeros(0, np.int64), *(index.labels for index in indices)])


def encoded_names(indices: Sequence[ShardIndex]) -> Iterator[bytes]:
    """The encoded names of all images of the shards."""
    for index in indices:
        names = index.names.tobytes()
        begin = 0
        for end in index.name_ends.tolist():
            yield names[begin:end]
            begin = end
