"""Two examples made into one: MixUp and CutMix, with labels that are shares of two classes.

Source: Zhang et al. (2018), arXiv 1710.09412; Yun et al. (2019), arXiv 1905.04899; drawn as in the code that the
authors of NFNets released, which cuts in whole pixels and takes the real share of the box for the label.

Test: reference_tests/augment/test_mixing.py.
"""

import math

import numpy

from ..backend import CounterRNG
from ..errors import InputError
from ..functional.checks import real_number, shown
from .cropping import Crop, checked_size

ALPHA = 0.2  # of the Beta distribution of MixUp's ratio
BETA_ATTEMPTS = 64  # each succeeds with a probability of at least 1/2, up to ALPHA of at least 0.95


def draw_ratio(randomness: CounterRNG, pair: int | str, alpha: float = ALPHA) -> float:
    """MixUp's share of the first image: Beta(alpha, alpha), by the method of Jöhnk (1964), for alpha up to 1.

    It depends on the seed and step of `randomness` (the epoch) and on the number of the pair alone.
    """
    return _beta(f"MixUp {pair}", randomness, alpha)


def _beta(site, randomness, alpha):
    """A draw of Beta(alpha, alpha)."""
    alpha = real_number(alpha, "Beta distribution: alpha")
    if not 0.0 < alpha <= 1.0:
        raise InputError(f"Beta distribution: alpha={shown(alpha)}: expected a number above 0 and up to 1")
    for first, second in randomness.uniform(site, (BETA_ATTEMPTS, 2)).tolist():
        x, y = first ** (1.0 / alpha), second ** (1.0 / alpha)
        if 0.0 < x + y <= 1.0:
            return x / (x + y)
    return 0.5


def mixup(first: numpy.ndarray, second: numpy.ndarray, ratio: float) -> numpy.ndarray:
    """ratio·first + (1 - ratio)·second, in float32, of two arrays of one shape."""
    _check_pair(first, second)
    share = numpy.float32(real_number(ratio, "mixup: ratio"))
    return share * first.astype(numpy.float32) + (numpy.float32(1.0) - share) * second.astype(numpy.float32)


def draw_box(size: tuple[int, int], randomness: CounterRNG, pair: int | str, alpha: float = 1.0,
             odd_sides: bool = False) -> Crop:
    """CutMix's box in images of `size` = (height, width).

    Its sides are sqrt(1 - p) of the image's, p ~ Beta(alpha, alpha), which is uniform for 1, around a uniform pixel,
    cut at the image's edges: on average a bit less than half of the image.
    odd_sides: odd sides are kept, as in timm; the released code makes them even, by cutting off a pixel.
    """
    height, width = checked_size(size)
    row_draw, column_draw, p = randomness.uniform(f"CutMix {pair}", (3,)).tolist()
    if alpha != 1.0:
        p = _beta(f"CutMix ratio {pair}", randomness, alpha)
    side = math.sqrt(1.0 - p)
    top, rows = _cut(int(row_draw * height), int(side * height), height, odd_sides)
    left, columns = _cut(int(column_draw * width), int(side * width), width, odd_sides)
    return Crop(top, left, rows, columns)


def _cut(center, side, length, odd_sides):
    """(first pixel, number of pixels) of a box along one axis of `length` pixels."""
    first = max(0, center - side // 2)
    return first, min(length, center + (side + odd_sides) // 2) - first


def cutmix(first: numpy.ndarray, second: numpy.ndarray, box: Crop) -> tuple[numpy.ndarray, float]:
    """(image, ratio): the first image (H, W, C) inside of the box, the second outside, and the box's share of it."""
    _check_pair(first, second)
    rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
    mixed = second.copy()
    mixed[rows, columns] = first[rows, columns]
    return mixed, box.height * box.width / (first.shape[0] * first.shape[1])


def mixed_labels(first: numpy.ndarray, second: numpy.ndarray, ratios: numpy.ndarray, classes: int,
                 smoothing: float = 0.0) -> numpy.ndarray:
    """Shares (N, classes) in float32: ratio of the first class, 1 - ratio of the second, and then smoothing.

    first, second: whole numbers (N,); ratios: (N,); smoothing s: y ← (1 - s)·y + s/classes.
    """
    first, second, ratios = map(numpy.asarray, (first, second, ratios))
    for labels in (first, second):
        if labels.shape != ratios.shape or labels.dtype.kind not in "ui" or not numpy.all(labels < classes) \
                or not numpy.all(labels >= 0):
            raise InputError(f"mixed_labels: expected whole numbers from 0 to {classes - 1}, one for each of "
                             f"{len(ratios)} ratios, got {shown(labels)}")
    shares = numpy.zeros((len(ratios), classes))
    examples = numpy.arange(len(ratios))
    numpy.add.at(shares, (examples, first), ratios)
    numpy.add.at(shares, (examples, second), 1.0 - ratios)
    return ((1.0 - smoothing) * shares + smoothing / classes).astype(numpy.float32)


def _check_pair(first, second):
    """InputError unless both are NumPy arrays of one shape."""
    is_pair = isinstance(first, numpy.ndarray) and isinstance(second, numpy.ndarray)
    if not is_pair or first.shape != second.shape:
        raise InputError(f"mixing: expected two arrays of one shape, got {shown(first)} and {shown(second)}")
