"""The arrays that the fast paths on NumPy take."""

import numpy


def share_float_dtype(*arrays: numpy.ndarray) -> bool:
    """Whether the arrays are all float32 or all float64."""
    dtype = arrays[0].dtype
    return dtype.name in ("float32", "float64") and all(array.dtype == dtype for array in arrays)
