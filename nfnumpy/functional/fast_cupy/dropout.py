"""Dropout and stochastic depth in one launch each.

Kernels: backend/kernels/dropout.cu. Test: reference_tests/kernels/test_dropout.py.
"""

import math

import numpy

from ...backend import cuda
from ...backend.arrays import Array
from .. import dropout as formulas
from ..dropout import keep_probability

KERNELS = cuda.KernelFile("dropout", {"dropout": (cuda.FLOATING,), "stochastic_depth": (cuda.FLOATING,)})


def _covers(x, mask, mask_shape, rate):
    return tuple(mask.shape) == mask_shape and cuda.supports(x, mask) and type(rate) in (int, float)


@formulas.dropout.fast_path("cupy")
def dropout(x: Array, mask: Array, *, rate: float) -> Array:
    """Mask and rescaling at once."""
    if not _covers(x, mask, tuple(x.shape), rate):
        return NotImplemented
    x, mask = cuda.contiguous(x, mask)
    out = cuda.empty_like(x)
    wide = cuda.accumulator_type(x.dtype)
    KERNELS.launch_elementwise("dropout", (x.dtype,), out, x, mask, out, numpy.int64(x.size),
                               wide(1.0 / keep_probability(rate)))
    return out


@formulas.dropout_x_vjp.fast_path("cupy")
def dropout_x_vjp(cotangent: Array, mask: Array, *, rate: float) -> Array:
    """The same map."""
    return dropout(cotangent, mask, rate=rate)


@formulas.stochastic_depth.fast_path("cupy")
def stochastic_depth(x: Array, mask: Array, *, rate: float, rescale: bool = False) -> Array:
    """Reads x once, writes the result once."""
    if not x.ndim or not _covers(x, mask, (x.shape[0], *(1 for _ in x.shape[1:])), rate):
        return NotImplemented
    scale = 1.0 / keep_probability(rate) if rescale else 1.0
    x, mask = cuda.contiguous(x, mask)
    out = cuda.empty_like(x)
    per_example = math.prod(x.shape[1:])
    parts = cuda.ceil_div(per_example * x.dtype.itemsize, 16 * cuda.THREADS)
    KERNELS.launch("stochastic_depth", (x.dtype,), x.shape[0] * parts, cuda.THREADS, x, mask, out,
                   numpy.int64(per_example), numpy.int32(parts), cuda.accumulator_type(x.dtype)(scale))
    return out
