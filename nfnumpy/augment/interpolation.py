"""Pillow's affine transforms: each pixel of the result interpolated between pixels of the image, or a fill colour.

A transform (a, b, c, d, e, f) says where the middle (x, y) of a pixel of the result comes from, (a·x + b·y + c,
d·x + e·y + f), in pixels from the image's corner; middles are at 0.5, 1.5, …. Bilinear between four pixels, or bicubic
between sixteen (Keys, 1981, with a = -1, where resizing has -1/2); pixels beyond an edge repeat it. Values are computed
in float64, clipped to 0 … 255 and cut to whole numbers.
(geometry.py has the released code's transforms: the nearest pixel, from the middle of the first one.)

Used by: timm_operations.py. Test: reference_tests/augment/test_timm_operations.py.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy

Matrix: TypeAlias = tuple[float, float, float, float, float, float]


def _linear(pixels, share):
    """Between two values, `share` of the way to the second."""
    first, second = pixels
    return first + (second - first) * share


def _cubic(pixels, share):
    """Between the middle two of four values, `share` of the way to the third: Keys' polynomial with a = -1."""
    before, first, second, after = pixels
    steepness = second - before
    curvature = 2.0 * (before - first) + second - after
    return first + share * (steepness + share * (curvature + share * (first - before - second + after)))


FILTERS: dict[str, tuple[Callable, range]] = {  # the formula along one axis, and which pixels it is of
    "bilinear": (_linear, range(2)),
    "bicubic": (_cubic, range(-1, 3)),
}


def affine(image: numpy.ndarray, matrix: Matrix, interpolation: str, fill: tuple[int, int, int]) -> numpy.ndarray:
    """The uint8 image (H, W, 3) sampled at the places that `matrix` gives; a new array.

    interpolation: one of FILTERS; fill: the colour of pixels that come from outside of the image.
    """
    height, width = image.shape[:2]
    a, b, c, d, e, f = matrix
    x, y = numpy.arange(width) + 0.5, numpy.arange(height)[:, None] + 0.5
    columns, rows = a * x + b * y + c, d * x + e * y + f
    places = numpy.flatnonzero((columns >= 0) & (columns < width) & (rows >= 0) & (rows < height))
    rows, columns = (numpy.broadcast_to(part, (height, width)).ravel()[places] - 0.5 for part in (rows, columns))
    values = numpy.clip(_interpolated(image, rows, columns, *FILTERS[interpolation]), 0.0, 255.0).astype(numpy.uint8)
    result = numpy.empty_like(image)
    for channel in range(3):
        plane = numpy.full(height * width, fill[channel], numpy.uint8)
        plane[places] = values[channel]
        result[..., channel] = plane.reshape(height, width)
    return result


def _interpolated(image, rows, columns, formula, taps):
    """The values (3, n) of an image at places (n,), in pixels from the middle of the first one."""
    height, width = image.shape[:2]
    row, column = numpy.floor(rows), numpy.floor(columns)
    down, across = rows - row, columns - column
    row, column = row.astype(numpy.int64), column.astype(numpy.int64)
    planes = numpy.stack([image[..., channel].ravel() for channel in range(3)])
    beside = [numpy.clip(column + tap, 0, width - 1) for tap in taps]

    def along_row(tap):
        start = numpy.clip(row + tap, 0, height - 1) * width
        if not across.any():  # whole pixels: the formula gives the pixel itself
            return _pixels(planes, start + numpy.clip(column, 0, width - 1))
        return formula([_pixels(planes, start + position) for position in beside], across)

    return formula([along_row(tap) for tap in taps], down) if down.any() else along_row(0)


def _pixels(planes, places):
    """The values at these places of each channel, in float64."""
    return planes.take(places, axis=1, mode="clip").astype(numpy.float64)


def rotation(size: tuple[int, int], degrees: float) -> Matrix:
    """The matrix of a turn around the middle of images of `size` = (height, width), anticlockwise if positive."""
    middle_y, middle_x = size[0] / 2, size[1] / 2
    angle = -math.radians(degrees % 360.0)
    cosine, sine = round(math.cos(angle), 15), round(math.sin(angle), 15)
    return (cosine, sine, cosine * -middle_x + sine * -middle_y + middle_x,
            -sine, cosine, -sine * -middle_x + cosine * -middle_y + middle_y)
