"""What happens at an image that cannot be read, where that is no error.

In training another image of its class takes its place: batches keep their size, labels and mixing stay as they are. In
evaluation it is left out, and its batch is shorter. Both depend on the image alone, not on its batch or on the thread
that reads it: the results are the same for any number of workers, and after resuming.

Used by: batch_reading.py, training/examples.py. Test: reference_tests/datasets/test_bad_images.py.
"""

from collections.abc import Iterator

import numpy as np

from ..errors import InputError
from .dataset import Examples, Split

MOST_IN_A_ROW = 100  # bad images; more look like a disk that is gone


class NoneReadable(InputError):
    """No image can take the place of one that cannot be read."""


class SkippingSplit(Split):
    """A split in which the next image of the same class that can be read takes the place of one that cannot."""

    def __init__(self, split: Split) -> None:
        super().__init__(split.labels, split.image_size)
        self.needs_decoding = split.needs_decoding
        self.split = split
        self._bad: dict[int, str] = {}
        self._by_label = np.argsort(self.labels, kind="stable")
        self._starts = np.searchsorted(self.labels[self._by_label], np.arange(int(self.labels.max(initial=-1)) + 2))

    @property
    def bad_images(self) -> dict[int, str]:
        """As Examples.bad_images."""
        return dict(self._bad)

    def read(self, index: int) -> np.ndarray:
        """One image, or the one in its place, uint8 (image_size, image_size, 3)."""
        return self._first(index, self.split.read)

    def read_whole(self, index: int) -> np.ndarray:
        """One image before it is cut and resized, or the one in its place, uint8 (H, W, 3)."""
        return self._first(index, self.split.read_whole)

    def name(self, index: int) -> str:
        """As the split that is read has it."""
        return self.split.name(index)

    def inventory(self) -> Iterator[tuple[str, int, int]]:
        """As the split that is read has it."""
        return self.split.inventory()

    def _first(self, index, read):
        """What `read` makes of the first image that it can read; NoneReadable if there is none among a hundred."""
        label = self.labels[index]
        first, last = self._starts[label], self._starts[label + 1]
        place = first + np.searchsorted(self._by_label[first:last], index)
        for distance in range(min(last - first, MOST_IN_A_ROW)):
            candidate = int(self._by_label[first + (place - first + distance) % (last - first)])
            if candidate in self._bad:
                continue
            try:
                return read(candidate)
            except InputError as error:
                self._bad[candidate] = str(error)
        raise NoneReadable(f"{self._bad[int(index)]}; and none of the next images of its class can be read")


def read_readable(examples: Examples, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """(images uint8 (m, H, W, 3), which of `numbers` they are bool (n,), number -> error of the others)."""
    images, bad = [], {}
    for number in numbers.tolist():
        try:
            images.append(examples.take([number])[0])
        except InputError as error:
            bad[number] = str(error)
    side = examples.image_size
    stacked = np.stack(images) if images else np.empty((0, side, side, 3), dtype=np.uint8)
    return stacked, np.array([number not in bad for number in numbers.tolist()], dtype=bool), bad
