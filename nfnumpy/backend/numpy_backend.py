"""Arrays in main memory."""

import contextlib

import numpy

from ..errors import InputError
from . import threads

DTYPES = ("float32", "float64")


class NumpyBackend:
    """NumPy's array module as a backend: how host data comes in, how results go out, which dtypes train."""

    name = "numpy"
    xp = numpy

    def dtype(self, name):
        """The floating dtype called `name`; InputError when this backend does not train in it."""
        if str(name) not in DTYPES and getattr(name, "__name__", None) not in DTYPES:
            raise InputError(f"dtype {name!r}: the numpy backend computes in {' or '.join(DTYPES)}")
        return numpy.dtype(name)

    def asarray(self, values, dtype=None):
        """`values` (an array, a nested list, a number) as an array of this backend; copies only if it must."""
        return numpy.asarray(values, dtype=dtype)

    def to_numpy(self, array):
        """`array` as a NumPy array on the host (no copy here)."""
        return numpy.asarray(array)

    @contextlib.contextmanager
    def computing(self):
        """Context for a loop of heavy work that judges its own results: our threads only, no warnings of overflow."""
        with threads.single_threaded_blas(), numpy.errstate(over="ignore", invalid="ignore", divide="ignore"):
            yield
