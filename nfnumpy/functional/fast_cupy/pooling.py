"""Pooling, the global mean and their derivatives in one launch each.

Kernels: backend/kernels/pooling.cu, image_means.cu. Test: reference_tests/kernels/test_pooling.py.
"""

import numpy

from ...backend import cuda
from ...backend.arrays import Array
from .. import pooling as formulas
from ..checks import Shape, Size
from ..pooling import image_windows
from ..windows import Padding
from .image_means import image_mean, image_mean_vjp

LARGEST = 1 << 29  # pixels along an axis, so that places along it are 32-bit numbers
KERNELS = cuda.KernelFile("pooling", dict.fromkeys(
    ("avg_pool", "avg_pool_vjp", "max_pool", "max_pool_vjp"), (cuda.FLOATING,)))


def _pool(kernel, arrays, windows, result_shape):
    """Start `kernel` on arrays (N, …, C); it writes an array of `result_shape`."""
    figures = []  # of both axes, as WINDOW_PARAMETERS in pooling.cu
    for size, out, window, stride, (before, _) in zip(windows.image, windows.out, windows.kernel, windows.stride,
                                                      windows.padding, strict=True):
        figures += [size, out, window, stride, before]
    if not cuda.supports(*arrays) or max(figures) > LARGEST:
        return NotImplemented
    arrays = cuda.contiguous(*arrays)
    result = cuda.empty(result_shape, arrays[0].dtype)
    images, height, width, channels = result_shape
    threads = images * height * width * cuda.ceil_div(channels * result.dtype.itemsize, 16)
    KERNELS.launch(kernel, (result.dtype,), cuda.ceil_div(threads, cuda.THREADS), cuda.THREADS, *arrays, result,
                   numpy.int64(images), numpy.int64(channels), *map(numpy.int32, figures))
    return result


@formulas.avg_pool.fast_path("cupy")
def avg_pool(x: Array, *, window: Size, stride: Size | None = None, padding: Padding = "SAME") -> Array:
    """Reads x once where windows do not overlap."""
    windows = image_windows(x.shape, window, stride, padding)
    return _pool("avg_pool", [x], windows, (x.shape[0], *windows.out, x.shape[3]))


@formulas.avg_pool_vjp.fast_path("cupy")
def avg_pool_vjp(cotangent: Array, x_shape: Shape, *, window: Size, stride: Size | None = None,
                 padding: Padding = "SAME") -> Array:
    """For each pixel: its share of the cotangents of all windows over it."""
    windows = image_windows(x_shape, window, stride, padding)
    if tuple(cotangent.shape) != (x_shape[0], *windows.out, x_shape[3]):
        return NotImplemented
    return _pool("avg_pool_vjp", [cotangent], windows, tuple(x_shape))


@formulas.max_pool.fast_path("cupy")
def max_pool(x: Array, *, window: Size, stride: Size | None = None, padding: Padding = "SAME") -> Array:
    """Reads x once where windows do not overlap."""
    windows = image_windows(x.shape, window, stride, padding)
    return _pool("max_pool", [x], windows, (x.shape[0], *windows.out, x.shape[3]))


@formulas.max_pool_vjp.fast_path("cupy")
def max_pool_vjp(cotangent: Array, x: Array, output: Array, *, window: Size, stride: Size | None = None,
                 padding: Padding = "SAME") -> Array:
    """For each pixel: the sum of the cotangents of the windows of which it is the first greatest value."""
    windows = image_windows(x.shape, window, stride, padding)
    if not cotangent.shape == output.shape == (x.shape[0], *windows.out, x.shape[3]):
        return NotImplemented
    return _pool("max_pool_vjp", [cotangent, x, output], windows, x.shape)


@formulas.global_mean.fast_path("cupy")
def global_mean(x: Array) -> Array:
    """One launch, or two where the images are few and large."""
    if x.ndim != 4 or not cuda.supports(x):
        return NotImplemented
    (x,) = cuda.contiguous(x)
    return image_mean(x)


@formulas.global_mean_vjp.fast_path("cupy")
def global_mean_vjp(cotangent: Array, x_shape: Shape) -> Array:
    """One launch, which only writes."""
    if len(x_shape) != 4 or tuple(cotangent.shape) != (x_shape[0], x_shape[3]) or not cuda.supports(cotangent):
        return NotImplemented
    (cotangent,) = cuda.contiguous(cotangent)
    return image_mean_vjp(cotangent, tuple(x_shape))
