"""cuBLAS's matrix product on addresses, column by column as cuBLAS counts, over NumPy."""

import ctypes

import ml_dtypes
import numpy as np
from reference_tests.helpers.cuda_on_cpu.guarded import check_range

from .. import _capture

CUBLAS_OP_N, CUBLAS_OP_T = 0, 1
CUBLAS_GEMM_DEFAULT = -1
CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_64F = 68, 77, 70
DTYPES = {0: np.dtype(np.float32), 1: np.dtype(np.float64), 2: np.dtype(np.float16), 14: np.dtype(ml_dtypes.bfloat16)}
calls = []  # (m, n, k, batch) of every product


def _matrices(address, dtype, rows, columns, leading, stride, batch):
    """A view (batch, rows, columns) of matrices stored column by column."""
    item = dtype.itemsize
    if leading < max(1, rows):
        raise ValueError(f"cuBLAS: leading dimension {leading} of a matrix with {rows} rows")
    if address % item:
        raise ValueError("cuBLAS: misaligned matrix")
    for first in (0, (batch - 1) * stride):
        check_range(address + first * item, ((columns - 1) * leading + rows) * item)
    span = ((batch - 1) * stride + (columns - 1) * leading + rows) * item
    raw = np.frombuffer((ctypes.c_ubyte * span).from_address(address), dtype=np.uint8).view(dtype)
    return np.lib.stride_tricks.as_strided(raw, (batch, rows, columns), (stride * item, item, leading * item))


def gemmStridedBatchedEx(handle, *arguments):
    if _capture.capturing():
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    _product(handle, *arguments)


class Library:
    """The functions of libcublas that are called directly; their arguments as ctypes converts them."""

    def cublasCreate_v2(self, pointer):
        pointer._obj.value = 77
        return 0

    def cublasDestroy_v2(self, handle):
        return 0

    def cublasSetStream_v2(self, handle, stream):
        self.stream = stream
        return 0

    def cublasSetWorkspace_v2(self, handle, address, size):
        check_range(address, size)
        self.workspace = address
        return 0

    def cublasGemmStridedBatchedEx(self, handle, *arguments):
        if not self.workspace:
            return 1
        alpha, beta = arguments[5], arguments[14]
        scalar = ctypes.c_double if arguments[7] == 1 else ctypes.c_float
        held = [scalar(scalar.from_address(pointer).value) for pointer in (alpha, beta)]  # read when it is called
        arguments = list(arguments)
        arguments[5], arguments[14] = map(ctypes.addressof, held)
        _capture.run(lambda: _product(handle.value, *arguments), held)
        return 0


def _product(handle, transa, transb, m, n, k, alpha, A, Atype, lda, strideA, B, Btype, ldb, strideB, beta, C, Ctype, ldc,
             strideC, batchCount, computeType, algo):
    if handle != 77 or algo != CUBLAS_GEMM_DEFAULT or min(m, n, k, batchCount) < 1:
        raise ValueError("cuBLAS: invalid argument")
    halves_into_float32 = Atype in (2, 14) and Ctype == 0
    if (computeType == CUBLAS_COMPUTE_64F) != (Atype == 1) or Atype != Btype or \
            not (Ctype == Atype or halves_into_float32) or \
            (computeType == CUBLAS_COMPUTE_32F_FAST_TF32 and Atype != 0):
        raise ValueError("cuBLAS: not supported")
    wide = np.float64 if Atype == 1 else np.float32
    scalar = ctypes.c_double if Atype == 1 else ctypes.c_float
    alpha, beta = (scalar.from_address(pointer).value for pointer in (alpha, beta))
    a = _matrices(A, DTYPES[Atype], *((m, k) if transa == CUBLAS_OP_N else (k, m)), lda, strideA, batchCount)
    b = _matrices(B, DTYPES[Btype], *((k, n) if transb == CUBLAS_OP_N else (n, k)), ldb, strideB, batchCount)
    c = _matrices(C, DTYPES[Ctype], m, n, ldc, strideC, batchCount)
    a = a if transa == CUBLAS_OP_N else a.swapaxes(1, 2)
    b = b if transb == CUBLAS_OP_N else b.swapaxes(1, 2)
    product = alpha * (a.astype(wide) @ b.astype(wide))
    c[...] = (product + beta * c.astype(wide) if beta else product).astype(c.dtype)
    calls.append((m, n, k, batchCount))
