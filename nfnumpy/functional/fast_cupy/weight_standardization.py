"""`weight_standardization.standardize_weight` and its derivative in one launch each.

Kernels: backend/kernels/weight_standardization.cu. Test: reference_tests/kernels/test_weight_standardization.py.
"""

import math

import numpy

from ...backend import cuda
from ...backend.arrays import Array
from .. import weight_standardization as formulas

MULTIPROCESSORS = 132  # of the GPU that the layout is meant for; another one gets the same bits
HELD = {4: 5, 8: 4}  # packs of each array that a thread keeps, by the size of a number, as in the .cu file
MOST_THREADS = 512
KERNELS = cuda.KernelFile("weight_standardization", {
    "standardize_weight": (cuda.FULL_PRECISION,), "standardize_weight_vjp": (cuda.FULL_PRECISION,)})


def _layout(rows, columns, itemsize):
    """(lanes, blocks, threads): a block has `lanes` packs of 16 bytes of each row, and threads that hold all its rows.

    2 lanes read and write the 32 bytes that memory moves at least. A block has 1 where 2 would leave multiprocessors
    without a block, or where its registers could not hold 2.
    """
    packs = cuda.ceil_div(columns * itemsize, 16)
    lanes = 2 if packs > MULTIPROCESSORS and 2 * rows <= HELD[itemsize] * MOST_THREADS else 1
    threads = min(MOST_THREADS, 32 * cuda.ceil_div(cuda.ceil_div(rows, HELD[itemsize]) * lanes, 32))
    return lanes, cuda.ceil_div(packs, lanes), max(threads, 32)


def _covered(weight, gain, eps, *others):
    if weight.ndim < 2 or gain.shape != weight.shape[-1:] or type(eps) not in (int, float):
        return False
    if cuda.type_name(weight.dtype) not in cuda.FULL_PRECISION or not cuda.supports(weight, gain, *others):
        return False
    return all(array.shape == weight.shape for array in others)


def _launch(kernel, weight, eps, *arrays):
    columns, rows = weight.shape[-1], math.prod(weight.shape[:-1])
    lanes, blocks, threads = _layout(rows, columns, weight.itemsize)
    KERNELS.launch(kernel, (weight.dtype,), blocks, threads, *arrays, numpy.int64(rows), numpy.int64(columns),
                   numpy.int32(lanes), cuda.accumulator_type(weight.dtype)(eps))


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
