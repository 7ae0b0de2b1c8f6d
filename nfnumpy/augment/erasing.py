"""Random erasing: a rectangle of the finished image is painted over.

Source: Zhong et al. (2017), arXiv 1708.04896, as timm has it: area and logarithm of the shape are uniform, and the
paint is that of normalized values: 0 ("const"), a normal number for each channel ("rand"), or for each value ("pixel").
Images are uint8 here and normalized later, so paint is rounded to the nearest of 256 values, at most 0.01 from what is
meant, and normal numbers are cut where those values end: below about -2 and above about 2.3.

Used by: examples.py. Test: reference_tests/augment/test_jitter_and_erasing.py.
"""

import dataclasses
import math

import numpy

from ..backend import CounterRNG
from ..datasets.preprocessing import MEAN, STANDARD_DEVIATION
from ..errors import InputError
from ..functional.checks import real_number, shown
from .cropping import Crop

ERASE_MODES = ("const", "rand", "pixel")
AREAS = 0.02, 1 / 3  # shares of the image
SHAPES = 0.3, 1 / 0.3  # height over width
ATTEMPTS = 10


@dataclasses.dataclass(frozen=True)
class RandomErasing:
    """Erases a rectangle of an image with this probability. mode: one of ERASE_MODES."""

    probability: float
    mode: str = "const"

    def __post_init__(self) -> None:
        if self.mode not in ERASE_MODES:
            raise InputError(f"random erasing: mode {self.mode!r}: expected {', '.join(ERASE_MODES)}")
        if not 0.0 < real_number(self.probability, "random erasing: probability") <= 1.0:
            raise InputError(f"random erasing: probability={shown(self.probability)}: expected a number above 0 and "
                             f"up to 1")

    def __call__(self, image: numpy.ndarray, randomness: CounterRNG, example: int) -> numpy.ndarray:
        """The uint8 image (H, W, 3), or a copy in which a rectangle is erased.

        randomness: of the run's seed, its step being the epoch; example: the picture's number.
        """
        box = self.draw_box(image.shape[:2], randomness, example)
        if box is None:
            return image
        shape = {"const": (), "rand": (3,), "pixel": (box.height, box.width, 3)}[self.mode]
        normal = randomness.normal(f"paint {example}", shape) if shape else 0.0
        paint = 255.0 * (numpy.array(MEAN) + normal * numpy.array(STANDARD_DEVIATION))
        erased = image.copy()
        rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
        erased[rows, columns] = numpy.rint(numpy.clip(paint, 0.0, 255.0)).astype(numpy.uint8)
        return erased

    def draw_box(self, size: tuple[int, int], randomness: CounterRNG, example: int) -> Crop | None:
        """The rectangle in an image of `size` = (height, width); None for none, also where 10 attempts do not fit."""
        height, width = size
        if randomness.uniform(f"erasing {example}", (1,))[0] >= self.probability:
            return None
        low, high = map(math.log, SHAPES)
        for draws in randomness.uniform(f"erased box {example}", (ATTEMPTS, 4)).tolist():
            pixels = height * width * (AREAS[0] + draws[0] * (AREAS[1] - AREAS[0]))
            shape = math.exp(low + draws[1] * (high - low))
            rows, columns = round(math.sqrt(pixels * shape)), round(math.sqrt(pixels / shape))
            if rows < height and columns < width:
                return Crop(int(draws[2] * (height - rows + 1)), int(draws[3] * (width - columns + 1)), rows, columns)
        return None
