"""How the images of a folder or of shards are read: options, and what makes an array of an encoded picture.

Used by: folder.py, training/data.py. Test: reference_tests/datasets/test_reading.py.
"""

import os
from dataclasses import dataclass
from typing import IO

import numpy as np

from ..validation import POSITIVE, check_fields
from .images import PIXEL_LIMIT, checked_max_pixels, read_image


@dataclass(frozen=True)
class ImageReader:
    """Makes arrays of encoded pictures: squares of `size` pixels, or whole ones.

    crop_margin, keep_aspect, max_pixels: as datasets.read_image has them.
    """

    size: int
    crop_margin: int = 0
    keep_aspect: bool = True
    max_pixels: int = PIXEL_LIMIT

    def square(self, source: str | os.PathLike[str] | IO[bytes], name: str | None = None) -> np.ndarray:
        """The picture in the file `source`, resized and cut: uint8 (size, size, 3).

        name: what an InputError calls it; without one, the path.
        """
        return read_image(source, self.size, self.crop_margin, self.keep_aspect, self.max_pixels, name)

    def whole(self, source: str | os.PathLike[str] | IO[bytes], name: str | None = None) -> np.ndarray:
        """The picture in the file `source` in the size that it has there: uint8 (H, W, 3)."""
        return read_image(source, max_pixels=self.max_pixels, name=name)


@dataclass(frozen=True)
class ReadingOptions:
    """What is chosen about reading encoded images; data sets that are arrays ignore it.

    max_pixels: the largest picture that is decoded. InputError for values that cannot be used.
    """

    max_pixels: int = PIXEL_LIMIT

    def __post_init__(self) -> None:
        check_fields(self, {"max_pixels": POSITIVE}, {})
        checked_max_pixels(self.max_pixels)

    def training_reader(self, size: int) -> ImageReader:
        """What reads training images of `size` pixels."""
        return ImageReader(size, max_pixels=self.max_pixels)

    def test_reader(self, size: int) -> ImageReader:
        """What reads test images, for a network that is trained on images of `size` pixels."""
        return ImageReader(size, max_pixels=self.max_pixels)
