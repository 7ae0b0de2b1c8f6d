"""Bicubic resizing as TensorFlow does it, by which the authors' released code brings crops to the network's size.

Keys' kernel with a = -1/2 (Keys, 1981, eq. 4) between the four nearest pixels along each axis, whatever the factor: no
antialiasing, so a strongly reduced image is made of a few of its pixels, and no clamping, so values overshoot.
(Pillow's bicubic is antialiased and rounds; it gives another picture.)

Used by: pipeline.py. Test: reference_tests/augment/test_resizing.py.
"""

import numpy

from ..errors import InputError
from ..functional.checks import shown, whole_number

A = -0.5
STEP = 1.0 / 1024  # of a pixel: TensorFlow takes the kernel from a table


def keys(distance: numpy.ndarray) -> numpy.ndarray:
    """Keys' kernel at distances of up to 2 pixels; 0 beyond."""
    t = numpy.abs(distance)
    near = ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0
    far = ((A * t - 5.0 * A) * t + 8.0 * A) * t - 4.0 * A
    return numpy.where(t <= 1.0, near, numpy.where(t < 2.0, far, 0.0))


def interpolation_matrix(length: int, size: int) -> numpy.ndarray:
    """(size, length): the share of each of `length` pixels in each of `size` pixels of the resized axis, float64.

    Pixel k of the result is at (k + 1/2)·length/size - 1/2, to the next STEP between two pixels. The shares of pixels
    that would be outside of the image are left out, and the others sum to 1 without them.
    """
    places = (numpy.arange(size) + 0.5) * (length / size) - 0.5
    before = numpy.floor(places)
    places = before + numpy.rint((places - before) / STEP) * STEP
    first = before.astype(numpy.int64) - 1
    matrix = numpy.zeros((size, length))
    for tap in range(4):
        pixel = first + tap
        is_inside = (pixel >= 0) & (pixel < length)
        rows = numpy.flatnonzero(is_inside)
        matrix[rows, pixel[rows]] = keys(places - pixel)[rows]
    return matrix / matrix.sum(axis=1, keepdims=True)


def bicubic_resize(image: numpy.ndarray, size: tuple[int, int]) -> numpy.ndarray:
    """The image (H, W, C), of any real dtype, resized to `size` = (height, width): float32, not clamped."""
    if not isinstance(image, numpy.ndarray) or image.ndim != 3 or not image.size or image.dtype.kind not in "uif":
        raise InputError(f"bicubic_resize: expected an array of numbers (H, W, C), got {shown(image)}")
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise InputError(f"bicubic_resize: expected a size (height, width), got {shown(size)}")
    height, width = (whole_number(side, "bicubic_resize: size", least=1) for side in size)
    rows = interpolation_matrix(image.shape[0], height).astype(numpy.float32)
    columns = interpolation_matrix(image.shape[1], width).astype(numpy.float32)
    return numpy.einsum("yh,hwc,xw->yxc", rows, image.astype(numpy.float32), columns, optimize=True)
