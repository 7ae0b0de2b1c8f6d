"""GEMMs of many rows with a small matrix, cut where OpenBLAS is at its best.

OpenBLAS packs both factors into an order of its own first. Its kernels for AVX-512 leave that out for products of up
to a million multiply-adds, and are 1.2 to 1.6 times as fast then as on narrow matrices whole (docs/performance.md).

Used by: the other files here and linear.py. Test: fast_numpy/test_convolution.py.
"""

import functools

import numpy

from ....backend import openblas, scratch, tuning


@functools.cache
def small_products_are_fast() -> bool:
    """Whether the loaded OpenBLAS runs kernels that have that code."""
    return not openblas.OF_512_BITS.isdisjoint(name.lower() for name in openblas.in_use())


def _rows_together(matrix):
    """How many rows to multiply at a time with a matrix (…, K, N); 0: all."""
    values = max(1, matrix.shape[-2] * matrix.shape[-1])
    rows = min(tuning.PRODUCT_ROWS, tuning.SMALL_PRODUCT // values) // 8 * 8
    return rows if rows >= tuning.FEWEST_PRODUCT_ROWS and small_products_are_fast() else 0


def _cut(stack, rows):
    """(…, M, K) as (…, M // rows, rows, K) and the rows left over, without copying."""
    whole = stack.shape[-2] // rows * rows
    return stack[..., :whole, :].reshape(*stack.shape[:-2], -1, rows, stack.shape[-1]), stack[..., whole:, :]


def multiply(left: numpy.ndarray, right: numpy.ndarray, out: numpy.ndarray) -> numpy.ndarray:
    """out ← left·right: stacks (groups, M, K), (groups, K, N), (groups, M, N) with many rows M."""
    rows = _rows_together(right)
    if not rows or left.shape[-2] <= rows:
        return numpy.matmul(left, right, out=out)
    right = numpy.ascontiguousarray(right)  # transposed ones are slow that way
    cut, rest = _cut(left, rows)
    cut_out, rest_out = _cut(out, rows)
    numpy.matmul(cut, right[..., None, :, :], out=cut_out)
    if rest.shape[-2]:
        numpy.matmul(rest, right, out=rest_out)
    return out


def multiply_transposed(left: numpy.ndarray, right: numpy.ndarray, out: numpy.ndarray) -> numpy.ndarray:
    """out ← leftᵀ·right: stacks (groups, M, K), (groups, M, N), (groups, K, N) with many rows M to sum over."""
    rows = _rows_together(out)
    if not rows or left.shape[-2] <= rows or out.shape[-2] * out.shape[-1] > tuning.SUMMED_PRODUCT_VALUES:
        return numpy.matmul(left.swapaxes(-1, -2), right, out=out)
    cut, rest = _cut(left, rows)
    cut_right, rest_right = _cut(right, rows)
    sums = scratch.empty("sums", (*cut.shape[:-2], *out.shape[-2:]), out.dtype)
    numpy.add.reduce(numpy.matmul(cut.swapaxes(-1, -2), cut_right, out=sums), axis=-3, out=out)
    if rest.shape[-2]:
        out += numpy.matmul(rest.swapaxes(-1, -2), rest_right)
    return out
