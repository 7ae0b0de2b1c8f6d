"""Arrays in main memory."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy
from numpy.typing import DTypeLike

from ..errors import InputError
from . import blas_threads, host_memory
from .arrays import Array

DTYPES = ("float32", "float64")


class NumpyBackend:
    """NumPy's array module as a backend: conversion of arrays from and to the host, and the dtypes that train."""

    name = "numpy"
    xp = numpy
    asynchronous = False  # a function returns when its result is computed

    def dtype(self, name: DTypeLike) -> numpy.dtype:
        """The floating dtype called `name`; InputError when this backend does not train in it."""
        if str(name) not in DTYPES and getattr(name, "__name__", None) not in DTYPES:
            raise InputError(f"dtype {name!r}: the numpy backend computes in {' or '.join(DTYPES)}")
        return numpy.dtype(name)

    def compute_dtype(self, precision: str | None, dtype: str) -> numpy.dtype:
        """The dtype of images in a network of `dtype` (a name).

        precision: None; InputError for bf16 and fp16, which need a GPU.
        """
        if precision is not None:
            raise InputError(f"precision {precision}: the numpy backend computes in {' or '.join(DTYPES)}; bf16 and "
                             f"fp16 need --backend cupy")
        return self.dtype(dtype)

    def asarray(self, values: Any, dtype: DTypeLike | None = None) -> Array:
        """`values` (an array, a nested list, a number) as an array of this backend; copies only if it must."""
        return numpy.asarray(values, dtype=dtype)

    def to_numpy(self, array: Array) -> numpy.ndarray:
        """`array` as a NumPy array on the host (no copy here)."""
        return numpy.asarray(array)

    def copy_to_host_async(self, array: Array) -> Callable[[], numpy.ndarray]:
        """A function that returns `array`, which is computed already, as a NumPy array."""
        return lambda: array

    def prefetch_to_device(self, batches: Iterable[tuple[numpy.ndarray, ...]]) -> Iterable[tuple[Array, ...]]:
        """The batches (tuples of host arrays) as arrays of this backend: as they are."""
        return batches

    def available_memory(self) -> int | None:
        """Bytes that new arrays may take; None where the system does not tell."""
        return host_memory.available()

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Context for a loop that checks its own results for infinities and NaN.

        Only the thread pool computes on several threads, not BLAS, and NumPy gives no warnings of overflow.
        """
        with blas_threads.single_threaded_blas(), numpy.errstate(over="ignore", invalid="ignore", divide="ignore"):
            yield
