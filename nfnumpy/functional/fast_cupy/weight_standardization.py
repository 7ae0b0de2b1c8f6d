"""`weight_standardization.standardize_weight` and its derivative in one launch each."""

import math

import numpy

from ...backend import cuda
from .. import weight_standardization as formulas

BLOCKS = 128  # about as many as a large GPU has multiprocessors
NARROWEST, WIDEST = 8, 32  # columns of a block: a row of 8 float32 is the least that memory hands out
KERNELS = cuda.KernelFile("weight_standardization", {
    "standardize_weight": (cuda.FULL_PRECISION,), "standardize_weight_vjp": (cuda.FULL_PRECISION,)})


def _width(columns):
    """How many columns a block takes: few if the columns are few, so that there are blocks for the whole GPU."""
    width = WIDEST
    while width > NARROWEST and cuda.ceil_div(columns, width) < BLOCKS:
        width //= 2
    return width


def _covered(weight, gain, eps, *others):
    return (weight.ndim >= 2 and gain.shape == weight.shape[-1:] and weight.dtype.name in cuda.FULL_PRECISION
            and cuda.supports(weight, gain, *others) and all(array.shape == weight.shape for array in others)
            and type(eps) in (int, float))


def _launch(kernel, weight, eps, *arrays):
    columns = weight.shape[-1]
    width, rows = _width(columns), math.prod(weight.shape[:-1])
    KERNELS.launch(kernel, (weight.dtype,), cuda.ceil_div(columns, width), 1024, *arrays, numpy.int64(rows),
                   numpy.int64(columns), numpy.int32(width), cuda.accumulator_type(weight.dtype)(eps))


@formulas.standardize_weight.fast_path("cupy")
def standardize_weight(weight, gain, *, eps=1e-4):
    """Reads the weights from memory once, writes the result once."""
    if not _covered(weight, gain, eps):
        return NotImplemented
    weight, gain = cuda.contiguous(weight, gain)
    out = cuda.empty_like(weight)
    _launch("standardize_weight", weight, eps, weight, gain, out)
    return out


@formulas.standardize_weight_vjp.fast_path("cupy")
def standardize_weight_vjp(cotangent, weight, gain, *, eps=1e-4):
    """Both cotangents at once; mean and norm are computed again rather than kept."""
    if not _covered(weight, gain, eps, cotangent):
        return NotImplemented
    cotangent, weight, gain = cuda.contiguous(cotangent, weight, gain)
    back, gain_back = cuda.empty_like(weight), cuda.empty_like(gain)
    _launch("standardize_weight_vjp", weight, eps, cotangent, weight, gain, back, gain_back)
    return back, gain_back
