"""The fast paths of `functional.linear`: products with a large weight, and sums over all rows, on threads.

Squeeze-and-excite has such products: few rows, and reading the weight is most of the work.

Formulas: functional/linear.py. Test: fast_numpy/test_per_image.py.
"""

import math

import numpy

from ...backend import blocking, buffer_pool, thread_pool, tuning
from .. import linear as formulas
from ..linear import check_bias
from .convolution.gemm import multiply
from .dtypes import share_float_dtype


def _covers(rows, weight_shape, *arrays):
    """Whether a product of so few rows with so large a weight is faster on threads."""
    return (0 < rows <= tuning.LINEAR_ROWS and math.prod(weight_shape) >= tuning.LINEAR_WEIGHT_VALUES
            and share_float_dtype(*arrays) and all(array.ndim == 2 for array in arrays))


@formulas.linear.fast_path("numpy")
def linear(x: numpy.ndarray, weight: numpy.ndarray, bias: numpy.ndarray | None = None) -> numpy.ndarray:
    """Every thread has some of the inputs; their sums are added in order."""
    if not _covers(len(x), weight.shape, x, weight) or x.shape[1] != weight.shape[0]:
        return NotImplemented
    check_bias(bias, weight.shape[1], "linear")
    inputs = blocking.split_by_thread(len(weight))
    product = blocking.reduce_blocks(lambda some: numpy.matmul(x[:, some], weight[some]), inputs)
    return product if bias is None else product + bias


@formulas.linear_x_vjp.fast_path("numpy")
def linear_x_vjp(cotangent: numpy.ndarray, weight: numpy.ndarray) -> numpy.ndarray:
    """Every thread has some of the inputs, which are the weight's rows."""
    if not _covers(len(cotangent), weight.shape, cotangent, weight):
        return NotImplemented
    out = numpy.empty((len(cotangent), len(weight)), dtype=weight.dtype)
    column = cotangent.T
    inputs = blocking.split_by_thread(len(weight))
    thread_pool.parallel_map(lambda some: multiply(weight[some], column, out.T[some]), inputs)
    return out


@formulas.linear_weight_vjp.fast_path("numpy")
def linear_weight_vjp(cotangent: numpy.ndarray, x: numpy.ndarray) -> numpy.ndarray:
    """Every thread has some of the inputs."""
    if not _covers(len(x), (x.shape[-1], cotangent.shape[-1]), cotangent, x):
        return NotImplemented
    out = buffer_pool.empty((x.shape[1], cotangent.shape[1]), x.dtype)
    inputs = blocking.split_by_thread(len(out))
    thread_pool.parallel_map(lambda some: numpy.matmul(x[:, some].T, cotangent, out=out[some]), inputs)
    return out


@formulas.bias_vjp.fast_path("numpy")
def bias_vjp(cotangent: numpy.ndarray) -> numpy.ndarray:
    """Sums of the rows of each share, then the sum of these."""
    if cotangent.ndim < 2 or not share_float_dtype(cotangent):
        return NotImplemented
    small = tuning.SMALL_VALUES if cotangent.shape[-1] <= tuning.SUMMED_CHANNELS else tuning.LARGE_VALUES
    if cotangent.size <= small:
        return NotImplemented
    rows = cotangent.reshape(math.prod(cotangent.shape[:-1]), cotangent.shape[-1])
    return blocking.reduce_blocks(lambda share: _sum_rows(rows, share), blocking.split_by_work(len(rows), rows.size))


def _sum_rows(rows: numpy.ndarray, share: slice) -> numpy.ndarray:
    """Σ over the rows (M, C) of a share: (C,); of few channels as products with ones, block by block."""
    if rows.shape[1] > tuning.SUMMED_CHANNELS:
        return rows[share].sum(axis=0)
    blocks = blocking.split_by_step(share, blocking.rows_in_block(rows.shape[1]))
    ones = numpy.ones(blocks[0].stop - blocks[0].start, dtype=rows.dtype)
    parts = numpy.empty((len(blocks), rows.shape[1]), dtype=rows.dtype)
    for part, block in zip(parts, blocks, strict=True):
        numpy.matmul(ones[:block.stop - block.start], rows[block], out=part)
    return parts.sum(axis=0)
