"""Products with a large weight, as squeeze-and-excite has them, and sums over all rows, on our threads."""

import math

import numpy

from ...backend import blas_threads, buffer_pool, thread_pool
from .. import linear as formulas
from ..linear import check_bias
from . import blocks
from .convolution.gemm import multiply

FEW_CHANNELS = 128  # up to here NumPy's own sums over rows are slow
LARGE_WEIGHT = 1 << 17  # values: from here on reading it is most of the work, where rows are few
FEW_ROWS = 64


def _covers(rows, weight_shape, *arrays):
    """Whether a product of so few rows with so large a weight is worth our threads."""
    return 0 < rows <= FEW_ROWS and math.prod(weight_shape) >= LARGE_WEIGHT and blocks.covers(*arrays) \
        and all(array.ndim == 2 for array in arrays)


@formulas.linear.fast_path("numpy")
def linear(x, weight, bias=None):
    """Every thread has some of the inputs; their sums are added in order."""
    if not _covers(len(x), weight.shape, x, weight) or x.shape[1] != weight.shape[0]:
        return NotImplemented
    check_bias(bias, weight.shape[1], "linear")
    parts = thread_pool.parallel_map(lambda some: numpy.matmul(x[:, some], weight[some]),
                                     blas_threads.split_by_thread(len(weight)))
    product = sum(parts[1:], start=parts[0])
    return product if bias is None else product + bias


@formulas.linear_x_vjp.fast_path("numpy")
def linear_x_vjp(cotangent, weight):
    """Every thread has some of the inputs, which are the weight's rows."""
    if not _covers(len(cotangent), weight.shape, cotangent, weight):
        return NotImplemented
    out, column = numpy.empty((len(cotangent), len(weight)), dtype=weight.dtype), cotangent.T
    thread_pool.parallel_map(lambda some: multiply(weight[some], column, out.T[some]),
                             blas_threads.split_by_thread(len(weight)))
    return out


@formulas.linear_weight_vjp.fast_path("numpy")
def linear_weight_vjp(cotangent, x):
    """Every thread has some of the inputs."""
    if not _covers(len(x), (x.shape[-1], cotangent.shape[-1]), cotangent, x):
        return NotImplemented
    out = buffer_pool.empty((x.shape[1], cotangent.shape[1]), x.dtype)
    thread_pool.parallel_map(lambda some: numpy.matmul(x[:, some].T, cotangent, out=out[some]),
                             blas_threads.split_by_thread(len(out)))
    return out


@formulas.bias_vjp.fast_path("numpy")
def bias_vjp(cotangent):
    """Sums of the rows of each share, then the sum of these."""
    if cotangent.ndim < 2 or not blocks.covers(cotangent) or \
            cotangent.size <= (blocks.SMALL if cotangent.shape[-1] <= FEW_CHANNELS else blocks.LARGE):
        return NotImplemented
    rows = cotangent.reshape(math.prod(cotangent.shape[:-1]), cotangent.shape[-1])

    def add_up(share):
        if rows.shape[1] > FEW_CHANNELS:
            return rows[share].sum(axis=0)
        cut = blocks.blocks(share, rows.shape[1])
        ones = numpy.ones(cut[0].stop - cut[0].start, dtype=rows.dtype)
        parts = numpy.empty((len(cut), rows.shape[1]), dtype=rows.dtype)
        for part, block in zip(parts, cut):
            numpy.matmul(ones[:block.stop - block.start], rows[block], out=part)
        return parts.sum(axis=0)

    parts = thread_pool.parallel_map(add_up, blocks.split_by_work(len(rows), rows.size))
    return sum(parts[1:], start=parts[0])
