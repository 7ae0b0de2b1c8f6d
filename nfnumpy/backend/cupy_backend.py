"""Arrays on an NVIDIA GPU, through CuPy."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy
from numpy.typing import DTypeLike

from ..errors import InputError, first_line
from . import streams
from .arrays import Array

DTYPES = ("float32", "float64")
PRECISIONS = ("bf16", "fp16")
INSTALL = "pip install 'nfnumpy[cupy]'"


class CupyBackend:
    """CuPy's array module as a backend, with the same methods as the numpy one.

    Raises InputError, which names what is missing, when CuPy is not installed, not whole, or finds no GPU it can use.
    """

    name = "cupy"
    asynchronous = True  # a function returns before its result is computed

    def __init__(self) -> None:
        self.xp = _usable_cupy()

    def dtype(self, name: DTypeLike) -> numpy.dtype:
        """The floating dtype called `name`; InputError when this backend does not train in it."""
        if str(name) not in DTYPES and getattr(name, "__name__", None) not in DTYPES:
            raise InputError(f"dtype {name!r}: the cupy backend computes in {' or '.join(DTYPES)}")
        return self.xp.dtype(name)

    def compute_dtype(self, precision: str | None, dtype: str) -> numpy.dtype:
        """The dtype of images in a network of `dtype` (a name); precision: None, "bf16" or "fp16".

        InputError for a network that is not float32 and half precision, or half precision of another name.
        """
        if precision is None:
            return self.dtype(dtype)
        if precision not in PRECISIONS or dtype != "float32":
            raise InputError(f"precision {precision} with weights of {dtype}: expected {' or '.join(PRECISIONS)} with "
                             f"weights of float32")
        if precision == "bf16":
            import ml_dtypes
            return self.xp.dtype(ml_dtypes.bfloat16)
        return self.xp.dtype("float16")

    def asarray(self, values: Any, dtype: DTypeLike | None = None) -> Array:
        """`values` (an array on either side, a nested list, a number) as an array on the GPU."""
        return self.xp.asarray(values, dtype=dtype)

    def to_numpy(self, array: Array) -> numpy.ndarray:
        """`array` copied to the host as a NumPy array."""
        return self.xp.asnumpy(array)

    def copy_to_host_async(self, array: Array) -> Callable[[], numpy.ndarray]:
        """A function that returns `array` as a NumPy array once it is computed; later work does not delay it."""
        return streams.copy_to_host_async(array)

    def prefetch_to_device(self, batches: Iterable[tuple[numpy.ndarray, ...]]) -> Iterator[tuple[Array, ...]]:
        """The batches (tuples of host arrays) as arrays on the GPU, each copied while the previous one is in use."""
        return streams.prefetch_to_device(batches)

    def available_memory(self) -> int | None:
        """Bytes of the GPU that new arrays may take: free ones, and those that CuPy's pool has left."""
        free, _ = self.xp.cuda.runtime.memGetInfo()
        return free + self.xp.get_default_memory_pool().free_bytes()

    def computing(self) -> contextlib.AbstractContextManager[None]:
        """Context for a loop that checks its own results for infinities and NaN (a GPU gives no warnings of them)."""
        return contextlib.nullcontext()


def _usable_cupy():
    """The module cupy, once it has imported, found a GPU and shown that it can compute there."""
    try:
        import cupy
    except ModuleNotFoundError as error:
        what = "CuPy is not installed" if error.name == "cupy" else f"CuPy is not whole ({_line(error)})"
        raise InputError(f"backend cupy: {what}; install it with: {INSTALL}") from None
    except Exception as error:  # a missing library, or one of another version, causes exceptions of many types
        raise InputError(f"backend cupy: CuPy does not import ({_line(error)}); install it anew with: "
                         f"{INSTALL}") from None
    try:
        devices = cupy.cuda.runtime.getDeviceCount()
    except RuntimeError as error:
        raise InputError(f"backend cupy: no usable GPU ({_line(error)}); it takes an NVIDIA GPU and a driver for CUDA "
                         f"13 or newer, while CuPy itself is installed with: {INSTALL}") from None
    if not devices:
        raise InputError(f"backend cupy: this machine has no NVIDIA GPU; CuPy itself is installed with: {INSTALL}")
    for ability, attempt in ABILITIES.items():
        try:
            attempt(cupy)
        except Exception as error:  # CuPy has an exception for each of the libraries below it
            raise InputError(f"backend cupy: CuPy cannot {ability} ({_line(error)}); it and the CUDA libraries "
                             f"it needs are installed with: {INSTALL}") from None
    return cupy


def _compile(cupy):
    source = "template <class T> __global__ void nothing() {}"
    module = cupy.RawModule(code=source, options=("--std=c++17",), name_expressions=("nothing<float>",))
    module.get_function("nothing<float>")


ABILITIES = {
    "compile kernels": _compile,
    "fill an array": lambda cupy: cupy.ones(1, dtype="float32"),  # by a kernel of its own, which needs CUDA's headers
    "multiply matrices": lambda cupy: cupy.cuda.device.get_cublas_handle(),
}


def _line(error):
    """The first line of an exception's text, or of the text of the original exception that CuPy puts into its own."""
    return first_line(str(error).rpartition("Original error:")[2]) or type(error).__name__
