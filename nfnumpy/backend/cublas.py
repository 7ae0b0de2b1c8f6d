"""Matrix products on CuPy's arrays, through cuBLAS.

cuBLAS takes matrices of any spacing, and whole batches of them, where `cupy.matmul` would first copy them together.
"""

import contextlib
import contextvars
import functools
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy

from . import cublas_library, cuda
from .arrays import Array
from .context import setting

_captured: contextvars.ContextVar["cublas_library.Handle | None"] = contextvars.ContextVar("captured", default=None)
_tf32 = contextvars.ContextVar("tf32", default=os.environ.get("NFNUMPY_TF32", "1") not in ("", "0"))
_SCALARS = {name: numpy.array([0, 1], dtype=name) for name in cuda.FULL_PRECISION}  # read at each call
_DATA_TYPES = {"float32": "CUDA_R_32F", "float64": "CUDA_R_64F", "float16": "CUDA_R_16F", "bfloat16": "CUDA_R_16BF"}


def tf32(enabled: bool) -> AbstractContextManager[None]:
    """Context in which products of float32 round their inputs to 10 bits after the point (TF32), or do not.

    Outside of such a context they do, unless the environment has `NFNUMPY_TF32=0`. Sums are float32 in either case.
    """
    return setting(_tf32, bool(enabled))


def tf32_is_enabled() -> bool:
    """Whether products of float32 round their inputs to TF32 here."""
    return _tf32.get()


@contextlib.contextmanager
def captured(stream: Any) -> Iterator[cublas_library.Handle]:
    """Context whose products are launched on `stream`, which is capturing them; gives what the graph has to keep."""
    handle = cublas_library.Handle(stream)
    with setting(_captured, handle):
        yield handle


class Matrices(NamedTuple):
    """A batch of matrices in a contiguous array: element (i, j) of matrix b is at b·apart + i·row + j.

    With `transposed` it is at b·apart + j·row + i.
    """

    array: Array
    row: int
    apart: int = 0
    transposed: bool = False

    @property
    def T(self) -> "Matrices":
        """The transposed matrices, in the same memory."""
        return self._replace(transposed=not self.transposed)


def multiply(a: Matrices, b: Matrices, out: Matrices, *, rows: int, columns: int, inner: int, batch: int = 1,
             accumulate: bool = False) -> None:
    """out = a·b, or out + a·b with `accumulate`, for every matrix of the batch.

    a, b, out: Matrices of (rows, inner), (inner, columns) and (rows, columns), out not transposed; a and b of one
    dtype, out of the same one, or float32 for halves. Each result is a sum in float32 (float64 for float64), rounded
    once. Sums of no terms are 0.
    """
    if not rows * columns * batch:
        return
    if not inner:
        if not accumulate:
            _strided(out, rows, columns, batch)[...] = 0
        return
    from cupy.cuda import cublas, device, runtime
    dtype, out_dtype = cuda.type_name(a.array.dtype), cuda.type_name(out.array.dtype)
    if dtype == "float64":
        compute = cublas.CUBLAS_COMPUTE_64F
    elif dtype == "float32" and _tf32.get():
        compute = cublas.CUBLAS_COMPUTE_32F_FAST_TF32
    else:
        compute = cublas.CUBLAS_COMPUTE_32F
    scalars = _SCALARS["float64" if dtype == "float64" else "float32"]
    zero = scalars.ctypes.data
    one = zero + scalars.itemsize
    kind, out_kind = getattr(runtime, _DATA_TYPES[dtype]), getattr(runtime, _DATA_TYPES[out_dtype])
    operations = [cublas.CUBLAS_OP_T if matrices.transposed else cublas.CUBLAS_OP_N for matrices in (b, a)]
    # cuBLAS reads matrices column by column, that is, the transposes of b, a and out; and outᵀ = bᵀ·aᵀ.
    handle = _captured.get()
    product = handle.product if handle else functools.partial(cublas.gemmStridedBatchedEx, device.get_cublas_handle())
    product(
        *operations, columns, rows, inner, one, b.array.data.ptr, kind, b.row, b.apart, a.array.data.ptr, kind, a.row,
        a.apart, one if accumulate else zero, out.array.data.ptr, out_kind, out.row, out.apart, batch, compute,
        cublas.CUBLAS_GEMM_DEFAULT)


def _strided(matrices, rows, columns, batch):
    """The Matrices as one view (batch, rows, columns)."""
    from cupy.lib import stride_tricks
    item = matrices.array.itemsize
    return stride_tricks.as_strided(matrices.array, (batch, rows, columns),
                                    (matrices.apart * item, matrices.row * item, item))
