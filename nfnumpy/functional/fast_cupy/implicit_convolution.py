"""k×k convolutions on tensor cores without patches in memory: the kernels gather them while they multiply.

For groups of many channels in float16, bfloat16 and, where products may round to TF32, float32, on devices of compute
capability 8.0 and above; `suits` says when. convolution.py asks it and takes its own path otherwise: everywhere but in
a context `switched(True)`, or with `NFNUMPY_IMPLICIT_CONVOLUTION=1` in the environment.

Kernels: backend/kernels/implicit_convolution.cu. Test: reference_tests/kernels/test_implicit_convolution.py.
"""

import contextvars
import functools
import itertools
import math
import os
from contextlib import AbstractContextManager

import numpy

from ...backend import cublas, cuda
from ...backend.arrays import Array
from ...backend.context import setting
from ..checks import Shape
from ..windows import Windows

_is_on = contextvars.ContextVar("implicit convolution",
                                default=os.environ.get("NFNUMPY_IMPLICIT_CONVOLUTION", "0") not in ("", "0"))
DTYPES = ("float32", "float16", "bfloat16")
ROWS = 128  # of a tile, positions; 256 work too, where a block can have 144 KiB of shared memory (not on 8.6, 8.9)
SLICE_BYTES, STAGES = 128, 3  # of a row in a slice; slices in shared memory: as the kernels have them
MOST_TAPS = 32  # a bit each
LEAST_FILLED = 0.25  # the share of the products in all tiles that are asked for; with less, patches cost less
LIMIT = 2**31  # values of an array, which the kernels count in 32 bits
SLOTS = 264  # blocks of a large device that run together: 2 on each of an H100's 132 multiprocessors


def switched(on: bool) -> AbstractContextManager[None]:
    """Context in which convolutions that suit this path take it, or none does."""
    return setting(_is_on, on)


def is_switched_on() -> bool:
    """Whether convolutions that suit this path take it here."""
    return _is_on.get()


def _sides(tile):
    """(rows, columns) of a tile as C++ has it, such as "128, 64"."""
    rows, columns = map(int, tile.split(", "))
    return rows, columns


def _threads(tile):
    """Of a block: a warp for 64 rows, at least 2 of them, and half of the columns."""
    return max(2, _sides(tile)[0] // 64) * 2 * 32


def _shared_bytes(kernel, parameters):
    return 0 if kernel == "sum_splits" else sum(_sides(parameters[-1])) * SLICE_BYTES * STAGES


KERNELS = cuda.KernelFile("implicit_convolution", {
    "convolve": (DTYPES, ("false", "true"), (f"{ROWS}, 128", f"{ROWS}, 64")),
    "convolve_weight": (DTYPES, ("128, 128", "64, 64")), "sum_splits": (DTYPES,)}, _shared_bytes)


@functools.cache
def _major(device):
    """The first number of a device's compute capability."""
    from cupy.cuda import runtime
    return runtime.getDeviceProperties(device)["major"]


def _has_tensor_cores():
    from cupy.cuda import runtime
    return _major(runtime.getDevice()) >= 8


def _filled(size, tile):
    """The used share of as many tiles as `size` takes."""
    return size / (cuda.ceil_div(size, tile) * tile)


def suits(windows: Windows, x_shape: Shape, weight_shape: Shape, groups: int, wanted: str, *arrays: Array) -> bool:
    """Whether this path computes a convolution of these shapes (x and weight), or one of its derivatives.

    wanted: "out", "x" or "weight", what is to be computed from `arrays`.
    """
    dtype, fan, outs = arrays[0].dtype, weight_shape[2], weight_shape[3] // groups
    name = cuda.type_name(dtype)
    if not _is_on.get() or name not in DTYPES or (name == "float32" and not cublas.tf32_is_enabled()):
        return False
    of_slice = SLICE_BYTES // dtype.itemsize
    filled = {"out": _filled(fan, of_slice) * _filled(outs, 64), "x": _filled(outs, of_slice) * _filled(fan, 64),
              "weight": _filled(fan, 64) * _filled(outs, 64)}[wanted]
    sizes = math.prod(x_shape), math.prod(weight_shape), x_shape[0] * math.prod(windows.out) * weight_shape[3]
    return (math.prod(windows.kernel) <= MOST_TAPS and max(sizes) < LIMIT and filled >= LEAST_FILLED
            and not any(length * dtype.itemsize % 16 for length in (fan, outs))
            and not any(array.data.ptr % 16 for array in arrays) and _has_tensor_cores())


def _side(size):
    """The side of the largest tiles of `size` rows or columns that leave no more of them unused than smaller ones."""
    return 64 if size % 128 in range(1, 65) else 128


def _convolve(source, weight, bias, target, windows, *, transposed, groups, fan, outs, taps, places):
    """Launch `convolve`, whose head explains windows, fan, outs, taps and places."""
    tile = f"{ROWS}, {_side(outs)}"
    rows, columns = _sides(tile)
    positions = len(source) * math.prod(windows.out)
    blocks = cuda.ceil_div(positions, rows) * groups * cuda.ceil_div(outs, columns)
    sizes = (bias is not None, len(source), *windows.image, *windows.out, *windows.kernel, *windows.stride,
             *windows.dilation, *windows.before, groups, fan, outs, *taps, *places)
    KERNELS.launch("convolve", (source.dtype, str(transposed).lower(), tile), blocks, _threads(tile), source, weight,
                   weight if bias is None else bias, target, *map(numpy.int32, sizes))


def conv2d(x: Array, weight: Array, bias: Array | None, windows: Windows, groups: int) -> Array:
    """The convolution of contiguous arrays x (N, H, W, in) and weight (kh, kw, in/groups, out), in one launch."""
    out = cuda.empty((len(x), *windows.out, weight.shape[3]), x.dtype)
    bias = bias if bias is None else cuda.contiguous(bias)[0]
    _convolve(x, weight, bias, out, windows, transposed=False, groups=groups, fan=weight.shape[2],
              outs=weight.shape[3] // groups, taps=(0, windows.kernel[1], 1),
              places=(math.prod(windows.out), 0, windows.out[1], 1))
    return out


def conv2d_x_vjp(cotangent: Array, weight: Array, x_shape: Shape, windows: Windows, groups: int) -> Array:
    """The cotangent of x, in one launch for each of stride² phases of pixels: see Windows.transposed."""
    x = cuda.empty(tuple(x_shape), weight.dtype)
    width, kernel_width = x_shape[2], windows.kernel[1]
    down, across = windows.stride
    for phase in itertools.product(range(down), range(across)):
        (rows, columns), taps, transposed = windows.transposed(phase)
        (first_i, step_i), (first_j, step_j) = map(_progression, taps)
        _convolve(cotangent, weight, None, x, transposed, transposed=True, groups=groups,
                  fan=weight.shape[3] // groups, outs=weight.shape[2],
                  taps=(first_i * kernel_width + first_j, step_i * kernel_width, step_j),
                  places=(x_shape[1] * width, rows.start * width + columns.start, rows.step * width, columns.step))
    return x


def _progression(numbers):
    """(first, step) of evenly spaced numbers."""
    first, second = [*numbers, 0, 0][:2]
    return first, second - first if len(numbers) > 1 else 0


@functools.lru_cache(maxsize=4096)
def _slices_of_split(tiles, slices):
    """How many slices of positions a block adds up, so that `tiles` times so many blocks leave few SLOTS idle."""
    def time(count):
        return cuda.ceil_div(tiles * count, SLOTS) * cuda.ceil_div(slices, count)
    most = max(1, min(slices // 8, 4 * SLOTS // tiles))
    return cuda.ceil_div(slices, min(range(1, most + 1), key=time))


def conv2d_weight_vjp(cotangent: Array, x: Array, weight_shape: Shape, windows: Windows, groups: int) -> Array:
    """The cotangent of the weight: sums over runs of positions, and one launch that adds these up and rounds once."""
    fan, outs = weight_shape[2], weight_shape[3] // groups
    tile = "128, 128" if _side(fan) == _side(outs) == 128 else "64, 64"
    rows, columns = _sides(tile)
    tiles = math.prod(windows.kernel) * groups * cuda.ceil_div(fan, rows) * cuda.ceil_div(outs, columns)
    slices = cuda.ceil_div(len(x) * math.prod(windows.out), SLICE_BYTES // x.itemsize)
    of_split = _slices_of_split(tiles, slices)
    splits = cuda.ceil_div(slices, of_split)
    partial = cuda.empty((splits, *weight_shape), numpy.float32)
    sizes = (len(x), *windows.image, *windows.out, *windows.kernel, *windows.stride, *windows.dilation, *windows.before,
             groups, fan, outs, of_split)
    KERNELS.launch("convolve_weight", (x.dtype, tile), tiles * splits, _threads(tile), x, cotangent, partial,
                   *map(numpy.int32, sizes))
    weight = cuda.empty(tuple(weight_shape), x.dtype)
    packs = weight.nbytes // 16
    KERNELS.launch("sum_splits", (x.dtype,), cuda.ceil_div(packs, cuda.THREADS), cuda.THREADS, partial, weight,
                   numpy.int32(splits), numpy.int64(packs))
    return weight
