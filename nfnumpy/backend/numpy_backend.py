"""Arrays in main memory."""

import contextlib

import numpy

from ..errors import InputError
from . import blas_threads

DTYPES = ("float32", "float64")


class NumpyBackend:
    """NumPy's array module as a backend: how host data comes in, how results go out, which dtypes train."""

    name = "numpy"
    xp = numpy
    asynchronous = False  # what a function computes is there when it returns

    def dtype(self, name):
        """The floating dtype called `name`; InputError when this backend does not train in it."""
        if str(name) not in DTYPES and getattr(name, "__name__", None) not in DTYPES:
            raise InputError(f"dtype {name!r}: the numpy backend computes in {' or '.join(DTYPES)}")
        return numpy.dtype(name)

    def compute_dtype(self, precision, dtype):
        """The dtype of images in a network of `dtype` (a name); precision: None, as bf16 and fp16 want a GPU."""
        if precision is not None:
            raise InputError(f"precision {precision}: the numpy backend computes in {' or '.join(DTYPES)}; bf16 and "
                             f"fp16 want --backend cupy")
        return self.dtype(dtype)

    def asarray(self, values, dtype=None):
        """`values` (an array, a nested list, a number) as an array of this backend; copies only if it must."""
        return numpy.asarray(values, dtype=dtype)

    def to_numpy(self, array):
        """`array` as a NumPy array on the host (no copy here)."""
        return numpy.asarray(array)

    def copy_to_host_async(self, array):
        """A function that returns `array` as a NumPy array once it is there (here it is)."""
        return lambda: array

    def prefetch_to_device(self, batches):
        """The batches (tuples of host arrays) as arrays of this backend."""
        return batches

    @contextlib.contextmanager
    def computing(self):
        """Context for a loop of heavy work that judges its own results: our threads only, no warnings of overflow."""
        with blas_threads.single_threaded_blas(), numpy.errstate(over="ignore", invalid="ignore", divide="ignore"):
            yield
