"""cuBLAS's matrix product called in its library, for launches that are captured into a CUDA graph.

CuPy's own function refuses to run while a stream is capturing. A product that is captured needs a handle whose stream
is the capturing one, and memory for its intermediate results that exists as long as the graph.

Used by: cublas.py. Test: reference_tests/training/test_captured_on_cupy.py.
"""

import ctypes
import functools
import weakref
from typing import Any

from . import cuda

NAMES = ("libcublas.so.13", "libcublas.so.12", "cublas64_13.dll")
ALLOCATION_FAILED = 3  # a status of the library
WORKSPACE = 32 << 20  # bytes; what cuBLAS takes by itself on Hopper, so that it chooses the same algorithms
_INT, _LONG, _POINTER = ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p
_MATRIX = (_POINTER, _INT, _INT, _LONG)  # address, type, leading dimension, distance of two matrices
_ARGUMENTS = (_POINTER, _INT, _INT, _INT, _INT, _INT, _POINTER, *_MATRIX, *_MATRIX, _POINTER, *_MATRIX, _INT, _INT,
              _INT)


@functools.cache
def load() -> Any:
    """The library that CuPy has loaded, or None where there is none of these names."""
    for name in NAMES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.cublasCreate_v2.argtypes = (ctypes.POINTER(_POINTER),)
        library.cublasDestroy_v2.argtypes = (_POINTER,)
        library.cublasSetStream_v2.argtypes = (_POINTER, _POINTER)
        library.cublasSetWorkspace_v2.argtypes = (_POINTER, _POINTER, ctypes.c_size_t)
        library.cublasGemmStridedBatchedEx.argtypes = _ARGUMENTS
        return library
    return None


class Handle:
    """A handle of the library whose products are launched on one stream; destroyed with this object.

    stream: CuPy's. The object has to exist as long as the launches are replayed, which use its memory. The arguments of
    `product` are those of CuPy's `gemmStridedBatchedEx` after the handle.
    """

    def __init__(self, stream: Any) -> None:
        self._library = load()
        self._handle = _POINTER()
        self._call("cublasCreate_v2", ctypes.byref(self._handle))
        weakref.finalize(self, self._library.cublasDestroy_v2, self._handle).atexit = False
        self._workspace = cuda.empty((WORKSPACE,), "uint8")
        self._call("cublasSetStream_v2", self._handle, stream.ptr)
        self._call("cublasSetWorkspace_v2", self._handle, self._workspace.data.ptr, WORKSPACE)

    def product(self, *arguments: Any) -> None:
        """Launch a matrix product."""
        self._call("cublasGemmStridedBatchedEx", self._handle, *arguments)

    def _call(self, function, *arguments):
        status = getattr(self._library, function)(*arguments)
        if status == ALLOCATION_FAILED:
            raise MemoryError(f"out of memory: {function}")
        if status:
            raise RuntimeError(f"{function} returned status {status}")
