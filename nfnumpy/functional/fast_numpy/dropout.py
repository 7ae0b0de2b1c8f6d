"""Stochastic depth on our threads."""

import numpy

from ...backend import thread_pool, buffer_pool
from .. import dropout as formulas
from ..dropout import keep_probability
from . import blocks, per_image


@formulas.stochastic_depth.fast_path("numpy")
def stochastic_depth(x, mask, *, rate, rescale=False):
    """The formula, each thread on some of the examples."""
    if x.size <= blocks.LARGE or mask.shape != (len(x), *(1 for _ in x.shape[1:])) or not blocks.covers(x, mask):
        return NotImplemented
    scale = 1.0 / keep_probability(rate) if rescale else None
    flat = x.reshape(len(x), -1)

    out = buffer_pool.empty(flat.shape, flat.dtype)

    def work(piece):
        kept = numpy.multiply(flat[piece], mask.reshape(-1, 1)[piece[0]], out=out[piece])
        if rescale:
            kept *= scale

    thread_pool.parallel_map(work, per_image.pieces(out[:, :, None]))
    return out.reshape(x.shape)
