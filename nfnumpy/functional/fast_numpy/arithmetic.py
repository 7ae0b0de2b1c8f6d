"""The fast path of `functional.arithmetic.add` for large arrays, on threads: gradients that meet are added so.

Formula: functional/arithmetic.py. Test: fast_numpy/test_per_image.py.
"""

import numpy

from ...backend import blocking, tuning
from .. import arithmetic as formulas
from .dtypes import share_float_dtype


@formulas.add.fast_path("numpy")
def add(x: numpy.ndarray, y: numpy.ndarray) -> numpy.ndarray:
    """Each block is written once."""
    if not isinstance(x, numpy.ndarray) or not isinstance(y, numpy.ndarray):
        return NotImplemented
    if x.shape != y.shape or x.size <= tuning.LARGE_VALUES or not share_float_dtype(x, y):
        return NotImplemented
    return blocking.elementwise(lambda out, x, y: numpy.add(x, y, out=out), x, y)
