"""Bicubic resizing as TensorFlow does it, by which the authors' released code brings crops to the network's size.

Keys' kernel with a = -1/2 (Keys, 1981, eq. 4) between the four nearest pixels along each axis, whatever the factor: no
antialiasing, so a strongly reduced image is made of a few of its pixels, and no clamping, so values overshoot.
(Pillow's bicubic is antialiased and rounds; it gives another picture.)

Used by: pipeline.py. Test: reference_tests/augment/test_resizing.py.
"""

import functools
from typing import NamedTuple

import numpy

from ..errors import InputError
from ..functional.checks import shown, whole_number

A = -0.5
STEP = 1.0 / 1024  # of a pixel: TensorFlow takes the kernel from a table
BAND = 16  # pixels of the result that are computed by one product
FEW = 5  # from so many times the result's pixels on, less than four of five pixels of the image are seen


def keys(distance: numpy.ndarray) -> numpy.ndarray:
    """Keys' kernel at distances of up to 2 pixels; 0 beyond."""
    t = numpy.abs(distance)
    near = ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0
    far = ((A * t - 5.0 * A) * t + 8.0 * A) * t - 4.0 * A
    return numpy.where(t <= 1.0, near, numpy.where(t < 2.0, far, 0.0))


def taps(length: int, size: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Which pixels of an axis of `length` pixels make each of `size` pixels, and in which shares: int64, float32.

    Both are (size, 4). Pixel k of the result is at (k + 1/2)·length/size - 1/2, to the next STEP between two pixels.
    Pixels that would be outside of the image have the share 0, and the others sum to 1 without them.
    """
    places = (numpy.arange(size) + 0.5) * (length / size) - 0.5
    before = numpy.floor(places)
    places = before + numpy.rint((places - before) / STEP) * STEP
    pixels = before.astype(numpy.int64)[:, None] + numpy.arange(-1, 3)
    shares = numpy.where((pixels >= 0) & (pixels < length), keys(places[:, None] - pixels), 0.0)
    return pixels, (shares / shares.sum(axis=1, keepdims=True)).astype(numpy.float32)


class _Plan(NamedTuple):
    """Where an axis' shares are in matrices of bands: BAND pixels of the result see few pixels of the image each.

    needed: which pixels of the image are seen at all, where they are few; None for all. first: the first of them in
    each band; shape: of all matrices, (bands, pixels of the image, channels, pixels of the result, channels); places,
    shares: what is not 0 in them.
    """

    needed: numpy.ndarray | None
    first: list[int]
    shape: tuple[int, ...]
    places: numpy.ndarray
    shares: numpy.ndarray


@functools.lru_cache(maxsize=1024)  # of about 20 kB each for images of 224 pixels
def _plan(length, size, channels, mirrored):
    """The plan for an axis of `length` pixels resized to `size`; mirrored: of the mirror image."""
    pixels, shares = taps(length, size)
    result, tap = numpy.nonzero(shares)
    share, pixel = shares[result, tap], pixels[result, tap]
    if mirrored:
        pixel = length - 1 - pixel
    needed = None
    if length > FEW * size:
        needed, pixel = numpy.unique(pixel, return_inverse=True)
        length = len(needed)
    edges = numpy.searchsorted(result, numpy.arange(0, size, BAND))
    first = numpy.minimum.reduceat(pixel, edges)
    span = int((numpy.maximum.reduceat(pixel, edges) + 1 - first).max())
    first = numpy.minimum(first, length - span)
    band = result // BAND
    shape = (len(edges), span, channels, min(BAND, size), channels)
    places = [numpy.ravel_multi_index((band, pixel - first[band], channel, result - band * BAND, channel), shape)
              for channel in range(channels)]
    return _Plan(needed, first.tolist(), shape, numpy.concatenate(places).astype(numpy.int32),
                 numpy.tile(share, channels))


def _bands(plan, size):
    """(first pixel of the result, first needed pixel of the image, matrix) of each band of a plan.

    matrix: (channels·pixels of the image, channels·pixels of the result) in float32.
    """
    _, first, shape, places, shares = plan
    channels = shape[2]
    matrices = numpy.zeros(shape, numpy.float32)
    matrices.reshape(-1)[places] = shares
    matrices = matrices.reshape(shape[0], shape[1] * channels, shape[3] * channels)
    for band, at in enumerate(first):
        start = band * BAND
        yield start, at, matrices[band, :, :(size - start) * channels]


def bicubic_resize(image: numpy.ndarray, size: tuple[int, int], mirrored: bool = False) -> numpy.ndarray:
    """The image (H, W, C), of any real dtype, resized to `size` = (height, width): float32, not clamped.

    mirrored: what resizing its mirror image gives.
    """
    if not isinstance(image, numpy.ndarray) or image.ndim != 3 or not image.size or image.dtype.kind not in "uif":
        raise InputError(f"bicubic_resize: expected an array of numbers (H, W, C), got {shown(image)}")
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise InputError(f"bicubic_resize: expected a size (height, width), got {shown(size)}")
    height, width = (whole_number(side, "bicubic_resize: size", least=1) for side in size)
    channels = image.shape[2]
    vertical = _plan(image.shape[0], height, 1, False)
    horizontal = _plan(image.shape[1], width, channels, mirrored)
    for axis, plan in enumerate((vertical, horizontal)):
        image = image if plan.needed is None else image.take(plan.needed, axis=axis)
    rows = image.astype(numpy.float32, order="C").reshape(image.shape[0], -1)
    resized_rows = numpy.empty((height, rows.shape[1]), numpy.float32)
    for start, first, matrix in _bands(vertical, height):
        numpy.matmul(matrix.T, rows[first:first + len(matrix)], out=resized_rows[start:start + matrix.shape[1]])
    resized = numpy.empty((height, width * channels), numpy.float32)
    for start, first, matrix in _bands(horizontal, width):
        part = resized_rows[:, first * channels:first * channels + len(matrix)]
        numpy.matmul(part, matrix, out=resized[:, start * channels:start * channels + matrix.shape[1]])
    return resized.reshape(height, width, channels)
