"""`linear.matmul` and `linear.linear` with their derivatives as products of cuBLAS, and biases.

Kernels: backend/kernels/bias.cu. Tests: reference_tests/kernels/test_gemm_on_cupy.py, test_bias.py.
"""

import numpy
from numpy.typing import DTypeLike

from ...backend import cublas, cuda
from ...backend.arrays import Array
from ...backend.cublas import Matrices
from .. import linear as formulas
from ..checks import Shape
from ..linear import check_bias

BLOCKS = 512  # that sum columns: a few for every multiprocessor, and few sums for the second launch
KERNELS = cuda.KernelFile("bias", {
    "add_bias": (cuda.FLOATING, ("true", "false")), "partial_column_sums": (cuda.FLOATING, ("true", "false")),
    "column_sums": (cuda.FLOATING,)})


def _product(a, b, *, transpose_a=False, transpose_b=False):
    """a·b of two arrays with two axes, either of them transposed first; NotImplemented where they do not fit."""
    if not cuda.supports(a, b) or a.ndim != 2 or b.ndim != 2:
        return NotImplemented
    (rows, inner), (other, columns) = a.shape[::-1 if transpose_a else 1], b.shape[::-1 if transpose_b else 1]
    if inner != other:
        return NotImplemented
    a, b = cuda.contiguous(a, b)
    out = cuda.empty((rows, columns), a.dtype)
    cublas.multiply(Matrices(a, a.shape[1], transposed=transpose_a), Matrices(b, b.shape[1], transposed=transpose_b),
                    Matrices(out, columns), rows=rows, columns=columns, inner=inner)
    return out


@formulas.matmul.fast_path("cupy")
def matmul(x: Array, y: Array) -> Array:
    """Of two matrices; batches of them are the formula's."""
    return _product(x, y)


@formulas.matmul_x_vjp.fast_path("cupy")
def matmul_x_vjp(cotangent: Array, y: Array, x_shape: Shape) -> Array:
    """cotangent·yᵀ, without transposing anything."""
    return _product(cotangent, y, transpose_b=True) if len(x_shape) == 2 else NotImplemented


@formulas.matmul_y_vjp.fast_path("cupy")
def matmul_y_vjp(cotangent: Array, x: Array, y_shape: Shape) -> Array:
    """xᵀ·cotangent, without transposing anything."""
    return _product(x, cotangent, transpose_a=True) if len(y_shape) == 2 else NotImplemented


@formulas.linear.fast_path("cupy")
def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """One product and, with a bias, one launch more."""
    if bias is not None and not cuda.supports(x, bias):
        return NotImplemented
    out = _product(x, weight)
    if out is not NotImplemented:
        check_bias(bias, weight.shape[1], "linear")
        add_bias(out, bias)
    return out


@formulas.linear_x_vjp.fast_path("cupy")
def linear_x_vjp(cotangent: Array, weight: Array) -> Array:
    """cotangent·weightᵀ, without transposing anything."""
    return _product(cotangent, weight, transpose_b=True)


@formulas.linear_weight_vjp.fast_path("cupy")
def linear_weight_vjp(cotangent: Array, x: Array) -> Array:
    """xᵀ·cotangent, without transposing anything."""
    return _product(x, cotangent, transpose_a=True)


def _size(columns, *arrays):
    """How many neighbouring columns one access takes: those of 16 bytes, or 1."""
    size = 16 // arrays[0].itemsize
    return 1 if columns % size or any(array.data.ptr % 16 for array in arrays) else size


def add_bias(out: Array, bias: Array | None) -> None:
    """Add `bias` (C,) to `out` (…, C), contiguous, in place; None adds nothing."""
    if bias is None or not out.size:
        return
    bias, = cuda.contiguous(bias)
    columns, rows = bias.size, out.size // bias.size
    size = _size(columns, out, bias)
    (across, down), pieces = cuda.block_shape(columns // size, rows)
    KERNELS.launch("add_bias", (out.dtype, str(size > 1).lower()), (cuda.ceil_div(rows, down), pieces), (across, down),
                   out, bias, numpy.int64(rows), numpy.int32(columns))


def _rows_of_block(rows, down, pieces):
    """So many that there are up to BLOCKS blocks, `pieces` of them next to each other, with 4 rows or more a thread."""
    return cuda.ceil_div(rows, max(1, min(BLOCKS // pieces, rows // (4 * down))))


@formulas.bias_vjp.fast_path("cupy")
def bias_vjp(cotangent: Array) -> Array:
    """Two launches: sums over runs of rows, then over those sums. Reads the cotangent once."""
    if not cuda.supports(cotangent) or not cotangent.size:
        return NotImplemented
    cotangent, = cuda.contiguous(cotangent)
    columns, rows = cotangent.shape[-1], cotangent.size // cotangent.shape[-1]
    size = _size(columns, cotangent)
    across = min(columns // size, 32)
    pieces, down = cuda.ceil_div(columns // size, across), cuda.THREADS // across
    rows_of_block = _rows_of_block(rows, down, pieces)
    blocks = cuda.ceil_div(rows, rows_of_block)
    partial = cuda.empty((blocks, columns), cuda.accumulator_type(cotangent.dtype))
    KERNELS.launch("partial_column_sums", (cotangent.dtype, str(size > 1).lower()), (blocks, pieces), cuda.THREADS,
                   cotangent, partial, numpy.int64(rows), numpy.int64(rows_of_block), numpy.int32(columns),
                   numpy.int32(across))
    return sum_rows(partial, cotangent.dtype)


def sum_rows(partial: Array, dtype: DTypeLike) -> Array:
    """(rows, columns) in the type that `dtype` is computed in -> (columns,) in `dtype`: one launch, for a few rows."""
    rows, columns = partial.shape
    out = cuda.empty((columns,), dtype)
    across = min(columns, 8)  # 32 threads or more down every column
    KERNELS.launch("column_sums", (out.dtype,), (1, cuda.ceil_div(columns, across)), cuda.THREADS,
                   partial, out, numpy.int64(rows), numpy.int32(columns), numpy.int32(across))
    return out
