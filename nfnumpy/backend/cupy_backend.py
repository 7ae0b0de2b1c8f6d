"""Arrays on an NVIDIA GPU, through CuPy."""

import contextlib

from ..errors import InputError

DTYPES = ("float32", "float64")
INSTALL = "pip install 'nfnumpy[cupy]'"


class CupyBackend:
    """CuPy's array module as a backend, with the same methods as the numpy one.

    Raises InputError when CuPy is not installed or finds no GPU it can use.
    """

    name = "cupy"

    def __init__(self):
        try:
            import cupy
        except ImportError:
            raise InputError(f"backend cupy: CuPy is not installed; install it with: {INSTALL}") from None
        try:
            devices = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise InputError(f"backend cupy: no usable GPU ({error}); CuPy needs an NVIDIA driver and is installed "
                             f"with: {INSTALL}") from None
        if not devices:
            raise InputError("backend cupy: CuPy is installed but this machine has no NVIDIA GPU")
        self.xp = cupy

    def dtype(self, name):
        """The floating dtype called `name`; InputError when this backend does not train in it."""
        if str(name) not in DTYPES and getattr(name, "__name__", None) not in DTYPES:
            raise InputError(f"dtype {name!r}: the cupy backend computes in {' or '.join(DTYPES)}")
        return self.xp.dtype(name)

    def asarray(self, values, dtype=None):
        """`values` (an array on either side, a nested list, a number) as an array on the GPU."""
        return self.xp.asarray(values, dtype=dtype)

    def to_numpy(self, array):
        """`array` copied to the host as a NumPy array."""
        return self.xp.asnumpy(array)

    def computing(self):
        """Context for a loop of heavy work that judges its own results (nothing to set up on a GPU)."""
        return contextlib.nullcontext()
