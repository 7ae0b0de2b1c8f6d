"""The residual update in blocks that stay in the cache, on our threads."""

import numpy

from ...backend import thread_pool
from .. import residual as formulas
from . import blocks


def _covers(alpha, *arrays):
    return type(alpha) in (int, float) and all(isinstance(array, numpy.ndarray) for array in arrays) \
        and blocks.covers(*arrays)


@formulas.skip_init.fast_path("numpy")
def skip_init(shortcut, residual, skip_gain, *, alpha):
    """The formula, block by block."""
    if (not _covers(alpha, shortcut, residual, skip_gain) or shortcut.size <= blocks.LARGE
            or shortcut.shape != residual.shape or skip_gain.shape != ()):
        return NotImplemented
    scale = alpha * skip_gain

    def compute(out, shortcut, residual):
        numpy.multiply(residual, scale, out=out)
        out += shortcut

    return blocks.fill(compute, shortcut, residual)


@formulas.skip_init_residual_vjp.fast_path("numpy")
def skip_init_residual_vjp(cotangent, skip_gain, *, alpha):
    """The formula, block by block."""
    if not _covers(alpha, cotangent, skip_gain) or cotangent.size <= blocks.LARGE or skip_gain.shape != ():
        return NotImplemented
    scale = alpha * skip_gain
    return blocks.fill(lambda out, cotangent: numpy.multiply(cotangent, scale, out=out), cotangent)


@formulas.skip_init_skip_gain_vjp.fast_path("numpy")
def skip_init_skip_gain_vjp(cotangent, residual, *, alpha):
    """Each block is a product of a row and a column."""
    if (not _covers(alpha, cotangent, residual) or cotangent.size <= blocks.SMALL
            or cotangent.shape != residual.shape):
        return NotImplemented
    flat = cotangent.reshape(-1), residual.reshape(-1)

    def add_up(share):
        return sum(float(numpy.dot(*(values[block] for values in flat))) for block in blocks.blocks(share, 1))

    total = sum(thread_pool.parallel_map(add_up, blocks.split_by_work(cotangent.size, cotangent.size)))
    return numpy.asarray(alpha * numpy.asarray(total).astype(cotangent.dtype))
