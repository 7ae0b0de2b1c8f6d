"""Operations that move pixels: each pixel of the result is the nearest one of the image at another place, or grey.

A transform says where a pixel (x, y) of the result comes from: (a·x + b·y + c, d·x + e·y + f), in pixels from the
middle of the first one. Source: the augmentation code that the authors of NFNets released; Jaderberg et al. (2015),
eq. 1, for sampling by an affine transform.

Used by: operations.py. Test: reference_tests/augment/test_operations.py.
"""

import math
from typing import TypeAlias

import numpy

FILL = 128  # where a pixel comes from outside of the image
Transform: TypeAlias = tuple[float, float, float, float, float, float]


def _nearest(places: numpy.ndarray) -> numpy.ndarray:
    """The whole number nearest to each place; halves away from 0."""
    return (numpy.sign(places) * numpy.floor(numpy.abs(places) + numpy.float32(0.5))).astype(numpy.int64)


def transform(image: numpy.ndarray, along: Transform, fill: int = FILL) -> numpy.ndarray:
    """The uint8 image (H, W, 3) sampled at the nearest pixels of the places that `along` gives, computed in float32."""
    height, width = image.shape[:2]
    a, b, c, d, e, f = (numpy.float32(number) for number in along)
    x, y = numpy.arange(width, dtype=numpy.float32), numpy.arange(height, dtype=numpy.float32)[:, None]
    columns, rows = _nearest(a * x + b * y + c), _nearest(d * x + e * y + f)
    is_inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    moved = image[numpy.clip(rows, 0, height - 1), numpy.clip(columns, 0, width - 1)]
    return numpy.where(is_inside[..., None], moved, numpy.uint8(fill))


def rotate(image: numpy.ndarray, degrees: float) -> numpy.ndarray:
    """Turned around the middle of the image by so many degrees; a positive number turns it anticlockwise."""
    height, width = image.shape[:2]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x_offset = ((width - 1) - (cosine * (width - 1) - sine * (height - 1))) / 2
    y_offset = ((height - 1) - (sine * (width - 1) + cosine * (height - 1))) / 2
    return transform(image, (cosine, -sine, x_offset, sine, cosine, y_offset))


def shear_x(image: numpy.ndarray, level: float) -> numpy.ndarray:
    """Row y moved to the left by level·y pixels."""
    return transform(image, (1.0, level, 0.0, 0.0, 1.0, 0.0))


def shear_y(image: numpy.ndarray, level: float) -> numpy.ndarray:
    """Column x moved up by level·x pixels."""
    return transform(image, (1.0, 0.0, 0.0, level, 1.0, 0.0))


def translate_x(image: numpy.ndarray, pixels: float) -> numpy.ndarray:
    """Moved to the left."""
    return transform(image, (1.0, 0.0, pixels, 0.0, 1.0, 0.0))


def translate_y(image: numpy.ndarray, pixels: float) -> numpy.ndarray:
    """Moved up."""
    return transform(image, (1.0, 0.0, 0.0, 0.0, 1.0, pixels))


def cutout(image: numpy.ndarray, half: int, center: tuple[int, int], fill: int = FILL) -> numpy.ndarray:
    """Grey in a square of 2·half pixels around `center` (row, column), cut at the image's edges (DeVries, 2017)."""
    row, column = center
    result = image.copy()
    result[max(0, row - half):row + half, max(0, column - half):column + half] = fill
    return result
