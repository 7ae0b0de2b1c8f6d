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


def transform(image: numpy.ndarray, along: Transform, fill: int = FILL) -> numpy.ndarray:
    """The uint8 image (H, W, 3) sampled at the nearest pixels of the places that `along` gives, computed in float32.

    A place in the middle between two pixels is that of the one with the larger number.
    """
    height, width = image.shape[:2]
    a, b, c, d, e, f = (numpy.float32(number) for number in along)
    x, y = numpy.arange(width, dtype=numpy.float32), numpy.arange(height, dtype=numpy.float32)[:, None]
    columns, has_column = _nearest(a * x + b * y + c if b else a * x + c, width)
    rows, has_row = _nearest(d * x + e * y + f if d else e * y + f, height)
    if (a, b, d, e) == (1.0, 0.0, 0.0, 1.0) and _are_consecutive(rows) and _are_consecutive(columns):
        return _translated(image, rows[has_row], columns[has_column], has_row[:, 0], has_column, fill)
    # Pixels of four bytes are taken faster than those of three, and whole channels are copied faster than pixels.
    pixels = numpy.empty((height * width + 1, 4), numpy.uint8)
    pixels[-1] = fill
    for channel in range(3):
        pixels[:-1, channel] = image[..., channel].reshape(-1)
    places = numpy.where(has_row & has_column, rows * width + columns, height * width)
    taken = pixels.view(numpy.uint32)[:, 0].take(places, mode="clip").view(numpy.uint8).reshape(height, width, 4)
    result = numpy.empty_like(image)
    for channel in range(3):
        result[..., channel] = taken[..., channel]
    return result


def _nearest(places, length):
    """(numbers of the nearest pixels, whether there is one among `length`)."""
    above = places + numpy.float32(0.5)
    return above.astype(numpy.intp), (above > 0.0) & (above < length)


def _are_consecutive(numbers):
    return bool(numpy.all(numpy.diff(numbers.ravel()) == 1))


def _translated(image, rows, columns, has_row, has_column, fill):
    """The image moved by whole pixels: these rows and columns of it at the places that have one."""
    result = numpy.full_like(image, fill)
    if len(rows) and len(columns):
        top, left = numpy.argmax(has_row), numpy.argmax(has_column)
        result[top:top + len(rows), left:left + len(columns)] = (
            image[rows[0]:rows[0] + len(rows), columns[0]:columns[0] + len(columns)])
    return result


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
