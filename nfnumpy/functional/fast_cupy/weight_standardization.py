"""`weight_standardization.standardize_weight` and its derivative in one launch each.

Kernels: backend/kernels/weight_standardization.cu. Test: reference_tests/kernels/test_weight_standardization.py.
"""

import math

import numpy

from ...backend import cuda
from ...backend.arrays import Array
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
    if weight.ndim < 2 or gain.shape != weight.shape[-1:] or type(eps) not in (int, float):
        return False
    if weight.dtype.name not in cuda.FULL_PRECISION or not cuda.supports(weight, gain, *others):
        return False
    return all(array.shape == weight.shape for array in others)


def _launch(kernel, weight, eps, *arrays):
    columns = weight.shape[-1]
    width = _width(columns)
    rows = math.prod(weight.shape[:-1])
    KERNELS.launch(kernel, (weight.dtype,), cuda.ceil_div(columns, width), 1024, *arrays, numpy.int64(rows),
                   numpy.int64(columns), numpy.int32(width), cuda.accumulator_type(weight.dtype)(eps))


@formulas.standardize_weight.fast_path("cupy")
def standardize_weight(weight: Array, gain: Array, *, eps: float = 1e-4) -> Array:
    """Reads the weights from memory once, writes the result once."""
    if not _covered(weight, gain, eps):
        return NotImplemented
    weight, gain = cuda.contiguous(weight, gain)
    out = cuda.empty_like(weight)
    _launch("standardize_weight", weight, eps, weight, gain, out)
    return out


@formulas.standardize_weight_vjp.fast_path("cupy")
def standardize_weight_vjp(cotangent: Array, weight: Array, gain: Array, *,
                           eps: float = 1e-4) -> tuple[Array, Array]:
    """Both cotangents at once; mean and norm are computed again rather than kept."""
    if not _covered(weight, gain, eps, cotangent):
        return NotImplemented
    cotangent, weight, gain = cuda.contiguous(cotangent, weight, gain)
    back = cuda.empty_like(weight)
    gain_back = cuda.empty_like(gain)
    _launch("standardize_weight_vjp", weight, eps, cotangent, weight, gain, back, gain_back)
    return back, gain_back
