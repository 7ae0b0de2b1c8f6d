"""Which part of a picture an example is: a random one in training, the middle in evaluation.

Two forms of the random crop are in use, and they draw from different distributions. `released_crop` is TensorFlow's
`sample_distorted_bounding_box` as the authors' released code calls it: shape uniform, then height uniform. `timm_crop`
is timm's and torchvision's RandomResizedCrop: area uniform, then the logarithm of the shape uniform. Both: Szegedy et
al. (2015), arXiv 1409.4842, section 6, "various sized patches".

Test: reference_tests/augment/test_cropping.py.
"""

import math
from typing import NamedTuple

from ..backend import CounterRNG
from ..errors import InputError
from ..functional.checks import shown, whole_number

LEAST_AREA, LEAST_COVERED = 0.08, 0.1  # shares of the picture; of the released form the second decides
SHAPES = 3 / 4, 4 / 3  # width over height
ATTEMPTS = 10
MARGIN = 32  # pixels around the middle crop, at the network's size


class Crop(NamedTuple):
    """A rectangle of whole pixels: the first row and column, and how many."""

    top: int
    left: int
    height: int
    width: int


def released_crop(size: tuple[int, int], target: int, randomness: CounterRNG, example: int) -> Crop:
    """A random crop of a picture of `size` = (height, width), as the authors' released code draws it.

    At most 10 attempts; where all fail, or the first that succeeds is the whole picture, which that code takes for a
    failure, `center_crop` for the network's size `target`. It depends on the seed and step of `randomness` (the epoch)
    and on `example` alone.
    """
    height, width = checked_size(size)
    for draws in randomness.uniform(f"crop {example}", (ATTEMPTS, 4)).tolist():
        crop = _attempt(height, width, *draws)
        if crop == (0, 0, height, width):
            break
        if crop is not None:
            return crop
    return center_crop(size, target)


def _attempt(height, width, shape_draw, height_draw, top_draw, left_draw):
    """One attempt from four uniform numbers; None if it does not fit, or covers too little."""
    shape = SHAPES[0] + shape_draw * (SHAPES[1] - SHAPES[0])
    area = height * width
    rows = round(math.sqrt(LEAST_AREA * area / shape))
    most_rows = round(math.sqrt(area / shape))
    if round(most_rows * shape) > width:
        most_rows = int((width + 0.5 - 1e-7) / shape)
    most_rows = min(most_rows, height)
    rows = min(rows, most_rows)
    rows += int(height_draw * (most_rows - rows + 1))
    if rows * round(rows * shape) < LEAST_AREA * area:
        rows += 1
    if rows * round(rows * shape) > area:
        rows -= 1
    columns = round(rows * shape)
    covered = rows * columns / area
    if not (LEAST_COVERED <= covered <= 1.0 and 0 < rows <= height and 0 < columns <= width):
        return None
    return Crop(int(top_draw * (height - rows)), int(left_draw * (width - columns)), rows, columns)


def timm_crop(size: tuple[int, int], randomness: CounterRNG, example: int,
              area: tuple[float, float] = (LEAST_AREA, 1.0)) -> Crop:
    """A random crop of a picture of `size` = (height, width), as timm's RandomResizedCrop draws it.

    area: least and greatest share of the picture. Where 10 attempts fail: the whole picture, cut to the nearest
    allowed shape around the middle.
    """
    height, width = checked_size(size)
    for draws in randomness.uniform(f"crop {example}", (ATTEMPTS, 4)).tolist():
        pixels = height * width * (area[0] + draws[0] * (area[1] - area[0]))
        low, high = map(math.log, SHAPES)
        shape = math.exp(low + draws[1] * (high - low))
        rows, columns = round(math.sqrt(pixels / shape)), round(math.sqrt(pixels * shape))
        if 0 < rows <= height and 0 < columns <= width:
            return Crop(int(draws[2] * (height - rows + 1)), int(draws[3] * (width - columns + 1)), rows, columns)
    rows = min(height, round(width / SHAPES[0]))
    columns = min(width, round(height * SHAPES[1]))
    return Crop((height - rows) // 2, (width - columns) // 2, rows, columns)


def center_crop(size: tuple[int, int], target: int) -> Crop:
    """The middle square of a picture of `size` = (height, width) that the authors evaluate on.

    Resized to `target` pixels it leaves a margin of 16 pixels on the two sides of the shorter direction.
    """
    height, width = checked_size(size)
    target = whole_number(target, "center_crop: target", least=1)
    side = max(1, int(min(height, width) / (target + MARGIN) * target))
    return Crop((height - side + 1) // 2, (width - side + 1) // 2, side, side)


def checked_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a picture, whole numbers above 0; InputError for anything else."""
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise InputError(f"crop: expected a size (height, width), got {shown(size)}")
    height, width = (whole_number(side, "crop: size", least=1) for side in size)
    return height, width
