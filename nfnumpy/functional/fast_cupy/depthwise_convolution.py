"""Depthwise convolutions, whose every channel is a group of its own: one launch each, two for the weight's derivative.

convolution.py asks `suits` and takes its own path otherwise: for several outputs a channel, and for dilated kernels.

Kernels: backend/kernels/depthwise_convolution.cu, `column_sums` of bias.cu.
Test: reference_tests/kernels/test_depthwise_convolution.py.
"""

import math

import numpy

from ...backend import cuda
from ...backend.arrays import Array
from ..checks import Shape
from ..windows import Windows
from .linear import add_bias, sum_rows

WITH_RUNS = {(3, 1): 4, (3, 2): 2, (5, 1): 4, (5, 2): 2}  # (kernel width, horizontal stride): results of a thread
MOST_LANES = 8  # 16 bytes each: a line of memory
MOST_RESULTS = 16  # of a row in a block, which has the more rows, as they see many pixels together
ENOUGH_BLOCKS = 512  # for sums over positions: a few for every multiprocessor, and few sums for the second launch
RUNS_TO_ADD = 4  # by a thread, at least
MOST_DOWN = 64  # threads along the last axis of a block: CUDA has no more
LIMIT = 2**31  # values that are counted in 32 bits
INSTANCES = (*(f"{number}, 1, 1, {packed}" for number in cuda.FLOATING.values() for packed in ("true", "false")),
             *(f"{number}, {width}, {stride}, true" for number in ("float", "float16", "bfloat16")
               for width, stride in WITH_RUNS))
KERNELS = cuda.KernelFile("depthwise_convolution", dict.fromkeys(
    ("depthwise", "depthwise_x_vjp", "depthwise_weight_vjp"), (INSTANCES,)))


def suits(windows: Windows, x_shape: Shape, weight_shape: Shape, groups: int) -> bool:
    """Whether this path computes a convolution of these shapes (x and weight) and its derivatives."""
    images, channels = x_shape[0], x_shape[3]
    pixels = images * max(math.prod(windows.image), math.prod(windows.out))
    extents = [size + before + after for size, (before, after) in zip(windows.image, windows.padding, strict=True)]
    return (1 < groups == channels == weight_shape[3] and windows.dilation == (1, 1)
            and max(pixels, math.prod(weight_shape), *extents, *windows.stride) < LIMIT)


class _Layout:
    """The instance that suits the arrays, and how its blocks divide `channels`."""

    def __init__(self, windows, channels, *arrays):
        number, size = cuda.FLOATING[cuda.type_name(arrays[0].dtype)], 16 // arrays[0].itemsize
        packed = channels % size == 0 and not any(array.data.ptr % 16 for array in arrays)
        width, stride = windows.kernel[1], windows.stride[1]
        instance = f"{number}, {width}, {stride}, {str(packed).lower()}"
        has_runs = instance in INSTANCES and width > 1
        self.instance = instance if has_runs else f"{number}, 1, 1, {str(packed).lower()}"
        self.run = WITH_RUNS[width, stride] if has_runs else 1
        self.rows_of_taps = windows.kernel[0] if has_runs else math.prod(windows.kernel)
        self.lanes, self.across = _pieces(channels // size if packed else channels, MOST_LANES if packed else 32)
        (top, _), (left, _) = windows.padding
        self.before = left % stride if has_runs else 0  # pixels by which a row of the image begins in a run
        self.figures = [*windows.image, *windows.out, *windows.kernel, *windows.stride, top, left, channels]


def _pieces(count, most):
    """(length, pieces): the fewest even pieces that cover `count` and are no longer than `most`."""
    pieces = cuda.ceil_div(count, most)
    return cuda.ceil_div(count, pieces), pieces


def _map(kernel, layout, source, weight, shape, before=0):
    """Start `kernel` for every result of an array of `shape` (N, H, W, C), whose first run begins `before` columns
    before it.
    """
    images, height, width, _ = shape
    result = cuda.empty(shape, source.dtype)
    most = min(MOST_RESULTS // layout.run, cuda.THREADS // layout.lanes)
    runs, tiles = _pieces(cuda.ceil_div(width + before, layout.run), most)
    lines = images * height
    down = min(lines, cuda.THREADS // (layout.lanes * runs), MOST_DOWN)
    KERNELS.launch(kernel, (layout.instance,), (cuda.ceil_div(lines, down), tiles, layout.across),
                   (layout.lanes, runs, down), source, weight, result, *map(numpy.int32, (lines, *layout.figures)))
    return result


def conv2d(x: Array, weight: Array, bias: Array | None, windows: Windows) -> Array:
    """The convolution of contiguous arrays that `suits` accepts."""
    layout = _Layout(windows, x.shape[3], x, weight)
    out = _map("depthwise", layout, x, weight, (x.shape[0], *windows.out, x.shape[3]))
    add_bias(out, bias)
    return out


def conv2d_x_vjp(cotangent: Array, weight: Array, x_shape: tuple[int, ...], windows: Windows) -> Array:
    """Every pixel gathers from the outputs that see it."""
    layout = _Layout(windows, x_shape[3], cotangent, weight)
    return _map("depthwise_x_vjp", layout, cotangent, weight, x_shape, layout.before)


def _summation(layout, runs):
    """((block), (grid), runs of a block) that sum over `runs` runs of outputs; they depend on the shapes alone."""
    taps, tap_tiles = _pieces(layout.rows_of_taps, cuda.THREADS // layout.lanes)
    down = min(cuda.THREADS // (layout.lanes * taps), MOST_DOWN)
    blocks = max(1, min(ENOUGH_BLOCKS // (layout.across * tap_tiles), runs // (down * RUNS_TO_ADD)))
    runs_of_block, blocks = _pieces(runs, cuda.ceil_div(runs, blocks))
    return (layout.lanes, taps, down), (blocks, tap_tiles, layout.across), runs_of_block


def conv2d_weight_vjp(cotangent: Array, x: Array, weight_shape: Shape, windows: Windows) -> Array:
    """Sums over runs of outputs, then over those sums."""
    layout = _Layout(windows, x.shape[3], cotangent, x)
    runs = x.shape[0] * windows.out[0] * cuda.ceil_div(windows.out[1], layout.run)
    block, grid, runs_of_block = _summation(layout, runs)
    partial = cuda.empty((grid[0], math.prod(weight_shape)), cuda.accumulator_type(x.dtype))
    KERNELS.launch("depthwise_weight_vjp", (layout.instance,), grid, block, cotangent, x, partial,
                   *map(numpy.int32, (runs, runs_of_block, *layout.figures)))
    return sum_rows(partial, x.dtype).reshape(tuple(weight_shape))
