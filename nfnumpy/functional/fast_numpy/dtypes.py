"""The arrays that the fast paths on NumPy take."""

import numpy

FULL_PRECISION = (numpy.dtype("float32"), numpy.dtype("float64"))  # compared as objects: dtype.name takes 2 µs


def share_float_dtype(*arrays: numpy.ndarray) -> bool:
    """Whether the arrays are all float32 or all float64."""
    dtype = arrays[0].dtype
    return dtype in FULL_PRECISION and all(array.dtype == dtype for array in arrays)
