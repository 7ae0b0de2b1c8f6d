"""The fast paths of `functional.residual`: the residual update in blocks that stay in the cache, on threads.

Formulas: functional/residual.py. Test: fast_numpy/test_per_image.py.
"""

import numpy

from ...backend import blocking, tuning
from .. import residual as formulas
from .dtypes import share_float_dtype


def _covers(alpha, *arrays):
    return (type(alpha) in (int, float) and all(isinstance(array, numpy.ndarray) for array in arrays)
            and share_float_dtype(*arrays))


@formulas.skip_init.fast_path("numpy")
def skip_init(shortcut: numpy.ndarray, residual: numpy.ndarray, skip_gain: numpy.ndarray, *,
              alpha: float) -> numpy.ndarray:
    """The formula, block by block."""
    if not _covers(alpha, shortcut, residual, skip_gain) or shortcut.size <= tuning.LARGE_VALUES:
        return NotImplemented
    if shortcut.shape != residual.shape or skip_gain.shape != ():
        return NotImplemented
    scale = alpha * skip_gain

    def compute(out, shortcut, residual):
        numpy.multiply(residual, scale, out=out)
        out += shortcut

    return blocking.elementwise(compute, shortcut, residual)


@formulas.skip_init_residual_vjp.fast_path("numpy")
def skip_init_residual_vjp(cotangent: numpy.ndarray, skip_gain: numpy.ndarray, *, alpha: float) -> numpy.ndarray:
    """The formula, block by block."""
    if not _covers(alpha, cotangent, skip_gain) or cotangent.size <= tuning.LARGE_VALUES or skip_gain.shape != ():
        return NotImplemented
    scale = alpha * skip_gain
    return blocking.elementwise(lambda out, cotangent: numpy.multiply(cotangent, scale, out=out), cotangent)


@formulas.skip_init_skip_gain_vjp.fast_path("numpy")
def skip_init_skip_gain_vjp(cotangent: numpy.ndarray, residual: numpy.ndarray, *, alpha: float) -> numpy.ndarray:
    """The inner product of both arrays, block by block, times alpha."""
    if not _covers(alpha, cotangent, residual) or cotangent.size <= tuning.SMALL_VALUES:
        return NotImplemented
    if cotangent.shape != residual.shape:
        return NotImplemented
    left, right = cotangent.reshape(-1), residual.reshape(-1)

    def inner_product(share):
        blocks = blocking.split_by_step(share, tuning.BLOCK_VALUES)
        return sum(float(numpy.dot(left[block], right[block])) for block in blocks)

    total = blocking.reduce_blocks(inner_product, blocking.split_by_work(left.size, left.size))
    return numpy.asarray(alpha * numpy.asarray(total).astype(cotangent.dtype))
