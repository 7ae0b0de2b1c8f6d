"""How the images of a folder or of shards are read: options, and what makes an array of an encoded picture.

Used by: folder.py, training/data.py, training/classifier.py. Test: reference_tests/datasets/test_reading.py.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..validation import POSITIVE, Interval, check_fields
from .decoders import DECODERS, Source, check_decoder
from .images import PIXEL_LIMIT, checked_image_size, checked_max_pixels, image_dimensions, read_image

# The authors' released code resizes to 32 pixels more than the network's input and cuts the centre out.
CROP_MARGIN = 32  # pixels
LARGEST_MARGIN = 1024  # pixels
SMALLEST_WITH_MARGIN = 192  # pixels; images of the small variants are not cut
EVAL_RESIZES = ("squash", "shorter-side")
MARGINS = Interval(0, LARGEST_MARGIN, with_greatest=True)
BAD_IMAGES = ("error", "skip")
ADVICE = "--on-bad-image skip leaves such pictures out"

# The shorter side that a decoder of smaller JPEGs keeps of a picture that crops are cut from, in images.
KEPT_FOR_CROPS = 2


class EvalTransform(NamedTuple):
    """How an image is resized and cut for evaluation, as datasets.read_image has it."""

    image_size: int
    crop_margin: int = 0
    keep_aspect: bool = True


@dataclass(frozen=True)
class ImageReader:
    """Makes arrays of encoded pictures: squares of `size` pixels, or whole ones.

    crop_margin, keep_aspect, max_pixels, decoder: as datasets.read_image has them.
    """

    size: int
    crop_margin: int = 0
    keep_aspect: bool = True
    max_pixels: int = PIXEL_LIMIT
    decoder: str = "pillow"

    def square(self, source: Source, name: str | None = None) -> np.ndarray:
        """The picture in the file `source`, resized and cut: uint8 (size, size, 3).

        name: what an InputError calls it; without one, the path.
        """
        return read_image(source, self.size, self.crop_margin, self.keep_aspect, self.max_pixels, name, self.decoder)

    def whole(self, source: Source, name: str | None = None) -> np.ndarray:
        """The picture in the file `source` before it is cut and resized: uint8 (H, W, 3).

        It has the size that it has in the file, unless the decoder makes a large JPEG smaller: its shorter side then
        still has twice the `size`.
        """
        return read_image(source, None, max_pixels=self.max_pixels, name=name, decoder=self.decoder,
                          least=KEPT_FOR_CROPS * self.size)

    @property
    def transform(self) -> EvalTransform:
        """How `square` resizes and cuts."""
        return EvalTransform(self.size, self.crop_margin, self.keep_aspect)

    def dimensions(self, source: Source, name: str | None = None) -> tuple[int, int]:
        """(width, height) in pixels of the picture in the file `source`, of which only the header is read."""
        return image_dimensions(source, self.max_pixels, name)


@dataclass(frozen=True)
class ReadingOptions:
    """What is chosen about reading encoded images; data sets that are arrays ignore it.

    max_pixels: the largest picture that is decoded. decoder: one of DECODERS. on_bad_image: "error", or "skip" if
    pictures that cannot be read are to be left out. test_share: the share of every class that is drawn for testing;
    None if the data has test pictures. eval_resize: how test pictures become square, one of EVAL_RESIZES with a margin
    that is cut off, or None, the shorter side without a margin. eval_margin: that margin in pixels, None for 32 from
    192 pixels up and 0 below; it needs eval_resize. test_size: pixels of test images, None for those of training
    images. preferred_size: pixels of training images where the user gives none; None if the pictures decide.
    needs_training: whether a folder with test pictures alone is an error. InputError for values that cannot be used.
    """

    max_pixels: int = PIXEL_LIMIT
    decoder: str = "pillow"
    on_bad_image: str = "error"
    test_share: float | None = None
    eval_resize: str | None = None
    eval_margin: int | None = None
    test_size: int | None = None
    preferred_size: int | None = None
    needs_training: bool = True

    def __post_init__(self) -> None:
        between = Interval(0.0, 1.0, with_least=False)
        check_fields(self, {"max_pixels": POSITIVE, "test_share": between, "eval_margin": MARGINS},
                     {"on_bad_image": BAD_IMAGES, "eval_resize": (None, *EVAL_RESIZES), "decoder": DECODERS})
        if self.eval_margin is not None and self.eval_resize is None:
            raise InputError(f"eval_margin is {self.eval_margin}: it needs eval_resize {' or '.join(EVAL_RESIZES)}")
        checked_max_pixels(self.max_pixels)
        check_decoder(self.decoder)
        for size in (self.test_size, self.preferred_size):
            if size is not None:
                checked_image_size(size)

    def training_reader(self, size: int) -> ImageReader:
        """What reads training images of `size` pixels."""
        return ImageReader(size, max_pixels=self.max_pixels, decoder=self.decoder)

    def test_reader(self, size: int) -> ImageReader:
        """What reads test images, for a network that is trained on images of `size` pixels."""
        size = self.test_size or size
        return ImageReader(size, self._margin(size), self.eval_resize != "squash", self.max_pixels, self.decoder)

    def _margin(self, size: int) -> int:
        """How many pixels more than `size` a test picture is resized to."""
        if self.eval_margin is not None:
            return self.eval_margin
        return CROP_MARGIN if self.eval_resize is not None and size >= SMALLEST_WITH_MARGIN else 0
