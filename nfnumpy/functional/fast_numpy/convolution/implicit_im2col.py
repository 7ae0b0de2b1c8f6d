"""Correlations of stride 1 with few channels a group, on rows of windows where they lie (shifted_rows.py).

The product with a row of the kernel is a sum's part for all pixels, the frame's too, where it means nothing.

BLAS is slow where a product has 8 columns. Groups of so few outputs are computed for two neighbours together: kw + 1
pixels from every other one on, times a matrix that has the kernel's row twice, side by side, the second a pixel
further down, and zeros elsewhere. That is (kw + 1)/kw of the arithmetic at twice the rate, and two matrices instead of
kw. The product for the weight's derivative has its row twice in the same way, and both are added up.
"""

import numpy

from ....backend import thread_pool, threads, tuning
from .im2col import add_bias, blocks, chunks_of, copy_runs
from .gemm import multiply, multiply_transposed
from .overlapping_rows import Rows, by_group



def suits(correlation, fan_in, channels, dtype):
    """Whether this way is the faster one for groups of `fan_in` inputs and so many outputs."""
    return correlation.step == correlation.spacing == (1, 1) and correlation.taps[1] > 1 \
        and tuning.IMPLICIT_FEWEST_CHANNELS <= fan_in * _together(channels, dtype) and fan_in <= tuning.IMPLICIT_CHANNELS \
        and all(out >= tuning.IMPLICIT_OUTPUTS_PER_TAP * (taps - 1) for out, taps in zip(correlation.out, correlation.taps))


def _together(channels, dtype):
    """How many neighbouring outputs are computed together where groups have so many."""
    return 2 if channels * dtype.itemsize <= tuning.PAIRED_OUTPUT_BYTES else 1


def _plan(correlation, image, groups, fan_in, channels, parts):
    row_bytes = (fan_in + correlation.taps[0] * channels) * image.itemsize
    return blocks(correlation, len(image), groups, fan_in, row_bytes, parts)


def _banded(kernel, taps, together):
    """The matrices (groups, kh, 1, wide·C, together·O) of a kernel's rows: the k-th O columns see from pixel k on."""
    (groups, fan_in, channels), (kh, kw) = kernel.shape, taps
    by_tap = kernel.reshape(groups, kh, kw, fan_in // (kh * kw), channels)
    banded = numpy.zeros((groups, kh, kw + together - 1, by_tap.shape[3], together, channels), kernel.dtype)
    for k in range(together):
        banded[:, :, k:k + kw, :, k] = by_tap
    return banded.reshape(groups, kh, 1, -1, together * channels)


def correlate(image, kernel, out, correlation, bias, parts):
    """Write into `out` (N, H, W, groups·O) what `image` and `kernel` (groups, taps·C, O) give, plus a bias or None."""
    (groups, fan_in, channels), (kh, kw) = kernel.shape, correlation.taps
    together = _together(channels, kernel.dtype)
    by_row = _banded(kernel, correlation.taps, together)

    def compute(block):
        rows = Rows(image, groups, correlation, block, together)
        of_group, _, shifts, count, _ = rows.matrices.shape
        sums = scratch.empty("sums of rows", (of_group, kh, count, shifts, together * channels), out.dtype)
        multiply(rows.matrices, by_row[block.groups], sums.transpose(0, 1, 3, 2, 4))
        total = sums[:, 0]
        for row in range(1, kh):
            total += sums[:, row]
        found = rows.outputs(total.reshape(of_group, -1, channels))
        copy_runs(by_group(out, groups, block, block.rows)[..., None, :], found[..., None, :])
        if bias is not None:
            run = slice(block.groups.start * channels, block.groups.stop * channels)
            add_bias(out[block.images, block.rows].reshape(-1, groups, channels)[:, block.groups], bias[run])

    thread_pool.parallel_map(compute, _plan(correlation, image, groups, fan_in // (kh * kw), channels, parts))


def weight_vjp(cotangent, image, weight, correlation, parts):
    """Write into `weight` (groups, kh, kw, C, O) the products of all windows with their cotangents, added up."""
    groups, kh, kw, fan_in, channels = weight.shape
    together = _together(channels, weight.dtype)

    def add_up(chunk):
        total = 0.0
        for block in chunk:
            rows = Rows(image, groups, correlation, block, together)
            of_group, _, shifts, count, wide = rows.matrices.shape
            given = rows.lay_out(by_group(cotangent, groups, block, block.rows))
            given = given.reshape(of_group, 1, count, shifts, together * channels).transpose(0, 1, 3, 2, 4)
            given = numpy.broadcast_to(given, (*rows.matrices.shape[:-1], together * channels))
            product = scratch.empty("product", (of_group, kh, shifts, wide, together * channels), image.dtype)
            total = total + multiply_transposed(rows.matrices, given, product).sum(axis=2)
        return chunk[0].groups, total.reshape(of_group, kh, kw + together - 1, fan_in, together, channels)

    weight[...] = 0.0
    for run, total in thread_pool.parallel_map(add_up, chunks_of(
            _plan(correlation, image, groups, fan_in, channels, parts), parts)):
        for k in range(together):
            weight[run] += total[:, :, k:k + kw, :, k]
