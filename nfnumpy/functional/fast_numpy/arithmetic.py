"""`elementwise.add` of large arrays on our threads: where gradients of two ways meet."""

import numpy

from .. import arithmetic as formulas
from . import blocks


@formulas.add.fast_path("numpy")
def add(x, y):
    """Each block is written once."""
    if not (isinstance(x, numpy.ndarray) and isinstance(y, numpy.ndarray)) or x.shape != y.shape \
            or x.size <= blocks.LARGE or not blocks.covers(x, y):
        return NotImplemented
    return blocks.fill(lambda out, x, y: numpy.add(x, y, out=out), x, y)
