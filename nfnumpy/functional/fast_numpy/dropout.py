"""The fast path of `functional.dropout.stochastic_depth`: every thread has some of the examples.

Formula: functional/dropout.py. Test: fast_numpy/test_per_image.py.
"""

import numpy

from ...backend import buffer_pool, thread_pool, tuning
from .. import dropout as formulas
from ..dropout import keep_probability
from . import per_image
from .dtypes import share_float_dtype


@formulas.stochastic_depth.fast_path("numpy")
def stochastic_depth(x: numpy.ndarray, mask: numpy.ndarray, *, rate: float, rescale: bool = False) -> numpy.ndarray:
    """The formula, example by example or in parts of examples."""
    mask_shape = (len(x), *(1 for _ in x.shape[1:]))
    if x.size <= tuning.LARGE_VALUES or mask.shape != mask_shape or not share_float_dtype(x, mask):
        return NotImplemented
    scale = 1.0 / keep_probability(rate) if rescale else None
    flat, column = x.reshape(len(x), -1), mask.reshape(-1, 1)
    out = buffer_pool.empty(flat.shape, flat.dtype)

    def compute(piece):
        examples, _ = piece
        kept = numpy.multiply(flat[piece], column[examples], out=out[piece])
        if scale is not None:
            kept *= scale

    thread_pool.parallel_map(compute, per_image.pieces(out[:, :, None]))
    return out.reshape(x.shape)
