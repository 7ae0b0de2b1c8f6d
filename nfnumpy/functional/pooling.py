"""Average and max pooling over windows, and the global mean. Images are (N, H, W, C).

Used by: ops.py. Fast paths: fast_numpy/pooling.py, fast_cupy/pooling.py, fast_cupy/image_means.py. Kernel: pooling.cu,
image_means.cu. Test: reference_tests/functional/test_pooling.py, fast_numpy/test_pooling.py,
kernels/test_pooling.py.
"""

from ..backend import formula, namespace
from ..backend.arrays import Array
from ..errors import InputError
from .checks import Shape, Size, pair
from .reductions import mean, mean_vjp
from .windows import Padding, Windows, windows_of


def image_windows(x_shape: Shape, window: Size, stride: Size | None, padding: Padding) -> Windows:
    """The windows of a pooling over images of `x_shape`; InputError where they do not fit or see no pixel."""
    if len(x_shape) != 4:
        raise InputError(f"pooling: expected an image (N, H, W, C), got {tuple(x_shape)}")
    stride = window if stride is None else stride
    windows = windows_of(x_shape[1:3], pair(window, "window"), stride=stride, padding=padding)
    if any(max(edges) >= size for edges, size in zip(windows.padding, windows.kernel, strict=True)):
        raise InputError(f"pooling: padding {windows.padding} leaves windows of {windows.kernel} with no pixel")
    return windows


def _pixels_under(windows: Windows, like: Array) -> Array:
    """How many real pixels each window covers: (1, out_h, out_w, 1)."""
    xp = namespace(like)
    ones = windows.pad(xp.ones((1, *windows.image, 1), dtype=like.dtype))
    counts = xp.zeros((1, *windows.out, 1), dtype=like.dtype)
    for _, index in windows.taps():
        counts += ones[index]
    return counts


@formula
def avg_pool(x: Array, *, window: Size, stride: Size | None = None,
             padding: Padding = "SAME") -> Array:
    """Mean of the real pixels under each window (padding never counts). stride None: the window's size."""
    windows = image_windows(x.shape, window, stride, padding)
    padded = windows.pad(x)
    total = namespace(x).zeros((x.shape[0], *windows.out, x.shape[3]), dtype=x.dtype)
    for _, index in windows.taps():
        total += padded[index]
    return total / _pixels_under(windows, x)


@formula
def avg_pool_vjp(cotangent: Array, x_shape: Shape, *, window: Size, stride: Size | None = None,
                 padding: Padding = "SAME") -> Array:
    """Every real pixel under a window receives an equal share."""
    windows = image_windows(x_shape, window, stride, padding)
    share = cotangent / _pixels_under(windows, cotangent)
    padded = windows.padded_zeros(cotangent, x_shape[0], x_shape[3])
    for _, index in windows.taps():
        padded[index] += share
    return windows.crop(padded)


@formula
def max_pool(x: Array, *, window: Size, stride: Size | None = None,
             padding: Padding = "SAME") -> Array:
    """Greatest value under each window; padding is -inf. stride None: the window's size."""
    windows = image_windows(x.shape, window, stride, padding)
    xp, padded = namespace(x), windows.pad(x, value=float("-inf"))
    greatest = xp.full((x.shape[0], *windows.out, x.shape[3]), float("-inf"), dtype=x.dtype)
    for _, index in windows.taps():
        greatest = xp.maximum(greatest, padded[index])
    return greatest


@formula
def max_pool_vjp(cotangent: Array, x: Array, output: Array, *, window: Size, stride: Size | None = None,
                 padding: Padding = "SAME") -> Array:
    """The first pixel (row by row) that holds the greatest value receives everything."""
    windows = image_windows(x.shape, window, stride, padding)
    xp, padded = namespace(x), windows.pad(x, value=float("-inf"))
    back = windows.padded_zeros(cotangent, x.shape[0], x.shape[3])
    unclaimed = xp.ones(tuple(output.shape), dtype=xp.bool)
    for _, index in windows.taps():
        chosen = unclaimed & (padded[index] == output)
        back[index] += cotangent * xp.astype(chosen, cotangent.dtype)
        unclaimed = unclaimed & ~chosen
    return windows.crop(back)


def _check_global_mean(x: Array) -> None:
    if x.ndim != 4:
        raise InputError(f"global_mean: expected an image (N, H, W, C), got {tuple(x.shape)}")


@formula(check=_check_global_mean)
def global_mean(x: Array) -> Array:
    """Mean over height and width: (N, H, W, C) -> (N, C)."""
    return mean(x, axis=(1, 2))


@formula
def global_mean_vjp(cotangent: Array, x_shape: Shape) -> Array:
    """Every pixel receives an equal share."""
    return mean_vjp(cotangent, x_shape, axis=(1, 2))
