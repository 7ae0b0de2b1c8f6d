"""Means over the pixels of images, for the global mean and squeeze-and-excite.

Kernels: backend/kernels/image_means.cu. Tests: reference_tests/kernels/test_pooling.py, test_squeeze_excite.py.
"""

import numpy

from ...backend import cuda
from ...backend.arrays import Array

LEAST_LANES, MOST_LANES = 8, 32  # packs of 16 bytes that a block has of a pixel: a line of memory, and four
ENOUGH_BLOCKS = 512  # some four for each multiprocessor of a large GPU
PIXELS_TO_SCALE = 8  # by a thread, which prepares its channels once
PIXELS_TO_ADD = 4  # by a thread, at least, before its block grows narrower and takes more pixels at a time
WORTH_A_SHARE = 16  # pixels a thread, before an image's pixels go to several blocks and their sums to another launch
KERNELS = cuda.KernelFile("image_means", {
    "image_mean": (cuda.FLOATING, ("false", "true")), "image_mean_and_dot": (cuda.FLOATING, ("false", "true")),
    "mean_of_shares": (cuda.FLOATING,), "image_mean_vjp": (cuda.FLOATING,)})


def packs_of(channels: int, dtype: numpy.dtype) -> int:
    """Packs of 16 bytes that cover a pixel."""
    return cuda.ceil_div(channels * dtype.itemsize, 16)


def _lanes(packs, most):
    """The least power of two that covers the packs of a pixel, `most` if none up to there does."""
    return min(most, 1 << max(packs - 1, 0).bit_length())


def map_tiles(file: cuda.KernelFile, kernel: str, shape: tuple[int, ...], *arrays: Array | numpy.generic,
              pixels_of_thread: int = PIXELS_TO_SCALE) -> None:
    """Start a kernel that goes over images of `shape` (N, H, W, C) tile by tile; numbers may follow the arrays."""
    images, height, width, channels = shape
    dtype = arrays[0].dtype
    packs = packs_of(channels, dtype)
    lanes = _lanes(packs, MOST_LANES)
    shares = cuda.ceil_div(height * width, cuda.THREADS // lanes * pixels_of_thread)
    file.launch(kernel, (dtype,), images * shares * cuda.ceil_div(packs, lanes), cuda.THREADS, *arrays,
                numpy.int64(height * width), numpy.int64(channels), numpy.int32(lanes), numpy.int32(shares))


def layout_of_sums(images: int, pixels: int, packs: int) -> tuple[int, int, int]:
    """(lanes, shares, blocks) for sums over pixels; they depend on the images alone, not on the GPU."""
    lanes = _lanes(packs, LEAST_LANES)
    while lanes < _lanes(packs, MOST_LANES) and cuda.THREADS // lanes * PIXELS_TO_ADD > pixels:
        lanes *= 2
    blocks = images * cuda.ceil_div(packs, lanes)
    shares = min(cuda.ceil_div(ENOUGH_BLOCKS, max(blocks, 1)), pixels // (cuda.THREADS // lanes * WORTH_A_SHARE))
    return lanes, max(shares, 1), blocks * max(shares, 1)


def _sums(x, *cotangent):
    """The means (N, C) and, given a cotangent, its products with x, summed up in shares (N, shares, C)."""
    images, height, width, channels = x.shape
    pixels = height * width
    wide = cuda.accumulator_type(x.dtype)
    lanes, shares, blocks = layout_of_sums(images, pixels, packs_of(channels, x.dtype))
    means = cuda.empty((images, channels), x.dtype)
    sums, divisor, in_shares = means, pixels, "false"
    if shares > 1:
        sums, divisor, in_shares = cuda.empty((images, shares, channels), wide), 1, "true"
    dot = [cuda.empty((images, shares, channels), wide) for _ in cotangent]
    kernel = "image_mean_and_dot" if cotangent else "image_mean"
    KERNELS.launch(kernel, (x.dtype, in_shares), blocks, cuda.THREADS, x, *cotangent, sums, *dot, numpy.int64(pixels),
                   numpy.int64(channels), numpy.int32(lanes), numpy.int32(shares), wide(divisor))
    if shares > 1:
        KERNELS.launch("mean_of_shares", (x.dtype,), cuda.ceil_div(means.size, cuda.THREADS), cuda.THREADS, sums, means,
                       numpy.int64(means.size), numpy.int64(channels), numpy.int32(shares), wide(pixels))
    return means, *dot


def image_mean(x: Array) -> Array:
    """(N, H, W, C), contiguous -> (N, C): one launch, two where the images are few and large."""
    (means,) = _sums(x)
    return means


def image_mean_and_dot(x: Array, cotangent: Array) -> tuple[Array, Array]:
    """`image_mean` of x, to the bit, and Σ_HW cotangent·x in shares (N, shares, C), with one reading of both."""
    means, dot = _sums(x, cotangent)
    return means, dot


def image_mean_vjp(cotangent: Array, shape: tuple[int, ...]) -> Array:
    """(N, C), contiguous -> (N, H, W, C), each pixel an equal share: one launch."""
    back = cuda.empty(shape, cotangent.dtype)
    map_tiles(KERNELS, "image_mean_vjp", shape, cotangent, back)
    return back
