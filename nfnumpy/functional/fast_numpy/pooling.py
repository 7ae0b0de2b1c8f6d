"""The fast paths of `functional.pooling`: image by image, each tap of a window adds or compares the pixels it sees.

Unlike in the formulas no image is padded first: where a tap would leave the image, the outputs there are left out.

Formulas: functional/pooling.py. Test: fast_numpy/test_pooling.py.
"""

import math
from collections.abc import Callable

import numpy
from numpy.typing import DTypeLike

from ...backend import blocking, buffer_pool, scratch, tuning
from .. import pooling as formulas
from ..checks import Size
from ..pooling import image_windows
from ..windows import Padding
from . import per_image
from .dtypes import share_float_dtype
from .short_rows import copy_runs


def _covers(shape, *arrays):
    """Whether images of `shape` are worth several threads, without which this is no faster, and share a dtype."""
    return (len(shape) == 4 and len(blocking.split_by_work(shape[0], math.prod(shape))) > 1
            and share_float_dtype(*arrays))


def _taps(windows):
    """For every tap, row by row, the outputs at which it sees a pixel, and these pixels: indices into (n, H, W, C)."""
    found = []
    for (i, j), _ in windows.taps():
        seen = [_seen(tap, windows, axis) for axis, tap in enumerate((i, j))]
        if all(out.start < out.stop for out, _ in seen):
            found.append(tuple((slice(None), *axes) for axes in zip(*seen, strict=True)))
    return found


def _seen(tap, windows, axis):
    """The outputs along an axis at which a tap sees a pixel, and these pixels."""
    stride, offset = windows.stride[axis], tap * windows.dilation[axis] - windows.padding[axis][0]
    first = max(0, -(offset // stride))
    stop = min(windows.out[axis], (windows.image[axis] - 1 - offset) // stride + 1)
    return slice(first, stop), slice(first * stride + offset, max(0, (stop - 1) * stride + offset + 1), stride)


def _pixels_under(windows, taps, dtype):
    """How many real pixels each window covers: (1, out_h, out_w, 1)."""
    counts = numpy.zeros((1, *windows.out, 1), dtype=dtype)
    for outputs, _ in taps:
        counts[outputs] += 1.0
    return counts


def _by_image(function: Callable[..., object], shape: tuple[int, ...], dtype: DTypeLike,
              *arrays: numpy.ndarray) -> numpy.ndarray:
    """A new array of `shape` (N, …), of which function(out, *arrays) fills some images at a time."""
    out = buffer_pool.empty(tuple(shape), dtype)
    return blocking.blockwise(function, out, *arrays, block_values=tuning.POOLING_BLOCK_VALUES)


def _are_tiles(windows):
    """Whether every pixel is seen once, and every tap sees one."""
    if windows.kernel != windows.stride or windows.dilation != (1, 1) or windows.padding != ((0, 0), (0, 0)):
        return False
    return all(out * size == image
               for out, size, image in zip(windows.out, windows.kernel, windows.image, strict=True))


def _average_tiles(out, image, down, along):
    """Rows of pixels are added first, which are long, then neighbours in the row that is left."""
    n, height, width, channels = out.shape
    rows = image.reshape(n, height, down, width * along * channels)
    sums = scratch.empty("sums", (n, height, width, along, channels), out.dtype)
    _add_up(rows.transpose(2, 0, 1, 3), sums.reshape(n, height, -1))
    _add_up(sums.transpose(3, 0, 1, 2, 4), out)
    out /= out.dtype.type(down * along)


def _add_up(arrays, out):
    """out ← the sum of `arrays`, along the first axis."""
    if len(arrays) == 1:
        out[...] = arrays[0]
    else:
        numpy.add(arrays[0], arrays[1], out=out)
    for array in arrays[2:]:
        out += array


def _spread_tiles(back, cotangent, down, along):
    """Every pixel of a tile gets the same share."""
    n, height, width, channels = cotangent.shape
    share = scratch.empty("share", cotangent.shape, cotangent.dtype)
    numpy.divide(cotangent, cotangent.dtype.type(down * along), out=share)
    row = scratch.empty("row", (n, height, width, along, 1, channels), cotangent.dtype)
    copy_runs(row, numpy.broadcast_to(share[:, :, :, None, None], row.shape))
    back.reshape(n, height, down, -1)[...] = row.reshape(n, height, 1, -1)


@formulas.avg_pool.fast_path("numpy")
def avg_pool(x: numpy.ndarray, *, window: Size, stride: Size | None = None, padding: Padding = "SAME") -> numpy.ndarray:
    """The sum over taps by the number of pixels."""
    if not _covers(x.shape, x):
        return NotImplemented
    windows = image_windows(x.shape, window, stride, padding)
    if _are_tiles(windows):
        return _by_image(lambda out, image: _average_tiles(out, image, *windows.kernel),
                         (x.shape[0], *windows.out, x.shape[3]), x.dtype, x)
    taps = _taps(windows)
    counts = _pixels_under(windows, taps, x.dtype)

    def compute(total, image):
        total[...] = 0.0
        for outputs, pixels in taps:
            total[outputs] += image[pixels]
        total /= counts

    return _by_image(compute, (x.shape[0], *windows.out, x.shape[3]), x.dtype, x)


@formulas.avg_pool_vjp.fast_path("numpy")
def avg_pool_vjp(cotangent: numpy.ndarray, x_shape: tuple[int, ...], *, window: Size, stride: Size | None = None,
                 padding: Padding = "SAME") -> numpy.ndarray:
    """Every tap adds its outputs' shares to the pixels that it sees."""
    if not _covers(x_shape, cotangent):
        return NotImplemented
    windows = image_windows(x_shape, window, stride, padding)
    if cotangent.shape != (x_shape[0], *windows.out, x_shape[3]):
        return NotImplemented
    if _are_tiles(windows):
        return _by_image(lambda back, cotangent: _spread_tiles(back, cotangent, *windows.kernel),
                         tuple(x_shape), cotangent.dtype, cotangent)
    taps = _taps(windows)
    counts = _pixels_under(windows, taps, cotangent.dtype)

    def compute(back, cotangent):
        share = numpy.divide(cotangent, counts, out=scratch.empty("share", cotangent.shape, cotangent.dtype))
        back[...] = 0.0
        for outputs, pixels in taps:
            back[pixels] += share[outputs]

    return _by_image(compute, tuple(x_shape), cotangent.dtype, cotangent)


@formulas.max_pool.fast_path("numpy")
def max_pool(x: numpy.ndarray, *, window: Size, stride: Size | None = None, padding: Padding = "SAME") -> numpy.ndarray:
    """The greatest of all taps."""
    if not _covers(x.shape, x):
        return NotImplemented
    windows = image_windows(x.shape, window, stride, padding)
    taps = _taps(windows)

    def compute(greatest, image):
        greatest[...] = float("-inf")
        for outputs, pixels in taps:
            numpy.maximum(greatest[outputs], image[pixels], out=greatest[outputs])

    return _by_image(compute, (x.shape[0], *windows.out, x.shape[3]), x.dtype, x)


@formulas.max_pool_vjp.fast_path("numpy")
def max_pool_vjp(cotangent: numpy.ndarray, x: numpy.ndarray, output: numpy.ndarray, *, window: Size,
                 stride: Size | None = None, padding: Padding = "SAME") -> numpy.ndarray:
    """Tap by tap, the pixels equal to their output get its cotangent, unless an earlier tap has claimed it."""
    if not _covers(x.shape, x, cotangent, output):
        return NotImplemented
    windows = image_windows(x.shape, window, stride, padding)
    if not cotangent.shape == output.shape == (x.shape[0], *windows.out, x.shape[3]):
        return NotImplemented
    taps = _taps(windows)

    def compute(back, cotangent, image, output):
        back[...] = 0.0
        unclaimed = scratch.empty("unclaimed", output.shape, bool)
        unclaimed[...] = True
        for outputs, pixels in taps:
            _claim(back[pixels], cotangent[outputs], image[pixels], output[outputs], unclaimed[outputs])

    return _by_image(compute, x.shape, x.dtype, cotangent, x, output)


def _claim(back, cotangent, pixels, output, unclaimed):
    """back += cotangent where `unclaimed` outputs equal the pixels of one tap, whose outputs are claimed then."""
    chosen = scratch.empty("chosen", output.shape, bool)
    numpy.equal(pixels, output, out=chosen)
    chosen &= unclaimed
    unclaimed ^= chosen
    back += numpy.multiply(cotangent, chosen, out=scratch.empty("share", chosen.shape, cotangent.dtype))


@formulas.global_mean.fast_path("numpy")
def global_mean(x: numpy.ndarray) -> numpy.ndarray:
    """Σ over pixels as a product with ones."""
    if x.ndim != 4 or x.size <= tuning.SMALL_VALUES or not share_float_dtype(x):
        return NotImplemented
    image = per_image.pixels(x)
    (sums,) = per_image.reduce_pixels(lambda image: per_image.sum_pixels(image)[None], image)
    return sums / image.shape[1]
