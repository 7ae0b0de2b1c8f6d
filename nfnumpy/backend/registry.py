"""The backends by name, and which of them an array belongs to."""

import functools
from typing import Any

import numpy

from ..errors import InputError
from .arrays import Array

NAMES = ("numpy", "cupy")


@functools.cache
def get(name: str) -> Any:
    """The backend object called `name` ("numpy" or "cupy").

    Raises InputError when there is no such backend, or when it cannot run on this machine; the text names what is
    missing and how to install it.
    """
    if name == "numpy":
        from .numpy_backend import NumpyBackend
        return NumpyBackend()
    if name == "cupy":
        from .cupy_backend import CupyBackend
        return CupyBackend()
    raise InputError(f"unknown backend {name!r}: expected one of {', '.join(NAMES)}")


def backend_name_of(array: object) -> str:
    """The top-level module of an array's type: "numpy", "cupy", or that of another array library."""
    return type(array).__module__.partition(".")[0]


def to_host(array: Any) -> numpy.ndarray:
    """An array of either backend, or anything that NumPy reads as an array, as a NumPy array on the host."""
    return get("cupy" if backend_name_of(array) == "cupy" else "numpy").to_numpy(array)


def backend_of(array: Array) -> Any:
    """The backend object that owns `array`; InputError for arrays that no backend owns."""
    return get(backend_name_of(array))
