"""The backends by name, and which of them an array belongs to."""

import functools
from typing import Any

from ..errors import InputError

NAMES = ("numpy", "cupy")


@functools.cache
def get(name: str) -> Any:
    """The backend object called `name` ("numpy" or "cupy").

    Raises InputError, saying what is missing and how to install it, when there is no such backend or it cannot run
    on this machine.
    """
    if name == "numpy":
        from .numpy_backend import NumpyBackend
        return NumpyBackend()
    if name == "cupy":
        from .cupy_backend import CupyBackend
        return CupyBackend()
    raise InputError(f"unknown backend {name!r}: expected one of {', '.join(NAMES)}")


def backend_name_of(array: Any) -> str:
    """ "numpy", "cupy", or the top-level module of whatever other array this is."""
    return type(array).__module__.partition(".")[0]


def to_host(array: Any) -> Any:
    """An array of either backend, or whatever NumPy can read as one, as a NumPy array on the host."""
    return get("cupy" if backend_name_of(array) == "cupy" else "numpy").to_numpy(array)


def backend_of(array: Any) -> Any:
    """The backend object that owns `array`; InputError for arrays that no backend owns."""
    return get(backend_name_of(array))
