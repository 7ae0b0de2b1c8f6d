"""Products of many rows with a small matrix, cut where OpenBLAS is at its best.

OpenBLAS first copies both factors into an order of its own. Its kernels for AVX-512 leave that out for products of up
to a million multiply-adds, and are 1.2 to 1.6 times as fast then as on narrow matrices whole (docs/performance.md).
"""

import functools

import numpy

from ....backend import openblas, threads, tuning



@functools.cache
def small_products_are_fast():
    """Whether the loaded OpenBLAS runs kernels that have that code."""
    return not openblas.OF_512_BITS.isdisjoint(name.lower() for name in openblas.in_use())


def _rows_together(matrix):
    """How many rows to multiply at a time with a matrix (…, K, N); 0: all."""
    rows = min(tuning.PRODUCT_ROWS, tuning.SMALL_PRODUCT // max(1, matrix.shape[-2] * matrix.shape[-1])) // 8 * 8
    return rows if rows >= tuning.FEWEST_PRODUCT_ROWS and small_products_are_fast() else 0


def _cut(stack, rows):
    """(…, M, K) as (…, M // rows, rows, K) and what is left over, without copying."""
    whole = stack.shape[-2] // rows * rows
    return stack[..., :whole, :].reshape(*stack.shape[:-2], -1, rows, stack.shape[-1]), stack[..., whole:, :]


def multiply(left, right, out):
    """out ← left·right: stacks (groups, M, K), (groups, K, N), (groups, M, N) with many rows M."""
    rows = _rows_together(right)
    if not rows or left.shape[-2] <= rows:
        return numpy.matmul(left, right, out=out)
    right = numpy.ascontiguousarray(right)  # transposed ones are slow that way
    (cut, rest), (cut_out, rest_out) = _cut(left, rows), _cut(out, rows)
    numpy.matmul(cut, right[..., None, :, :], out=cut_out)
    if rest.shape[-2]:
        numpy.matmul(rest, right, out=rest_out)
    return out


def multiply_transposed(left, right, out):
    """out ← leftᵀ·right: stacks (groups, M, K), (groups, M, N), (groups, K, N) with many rows M to sum over."""
    rows = _rows_together(out)
    if not rows or left.shape[-2] <= rows or out.shape[-2] * out.shape[-1] > tuning.SUMMED_PRODUCT_VALUES:
        return numpy.matmul(left.swapaxes(-1, -2), right, out=out)
    (cut, rest), (cut_right, rest_right) = _cut(left, rows), _cut(right, rows)
    sums = scratch.empty("sums", (*cut.shape[:-2], *out.shape[-2:]), out.dtype)
    numpy.add.reduce(numpy.matmul(cut.swapaxes(-1, -2), cut_right, out=sums), axis=-3, out=out)
    if rest.shape[-2]:
        out += numpy.matmul(rest.swapaxes(-1, -2), rest_right)
    return out
