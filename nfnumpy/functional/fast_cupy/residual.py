"""The residual update and its derivatives; skip_gain is read by the kernels, so that the host does not wait for it.

Kernels: backend/kernels/residual.cu. Test: reference_tests/kernels/test_residual.py.
"""

import numpy

from ...backend import cuda
from ...backend.arrays import Array
from .. import residual as formulas

MOST_BLOCKS = 1024  # fills any GPU there is; fixed, so that a sum has the same bits on all of them
KERNELS = cuda.KernelFile("residual", dict.fromkeys(
    ("skip_init", "skip_init_residual_vjp", "dot_of_blocks", "scaled_sum_of_blocks"), (cuda.FLOATING,)))


def _covers(images, skip_gain, alpha):
    if getattr(skip_gain, "shape", None) != () or type(alpha) not in (int, float):
        return False
    return cuda.supports(*images, skip_gain) and all(image.shape == images[0].shape for image in images)


def _scale(kernel, images, skip_gain, alpha):
    if not _covers(images, skip_gain, alpha):
        return NotImplemented
    images = cuda.contiguous(*images)
    out = cuda.empty_like(images[0])
    wide = cuda.accumulator_type(out.dtype)
    KERNELS.launch_elementwise(kernel, (out.dtype,), out, *images, skip_gain, out, numpy.int64(out.size), wide(alpha))
    return out


@formulas.skip_init.fast_path("cupy")
def skip_init(shortcut: Array, residual: Array, skip_gain: Array | float, *, alpha: float) -> Array:
    """One launch: reads both, writes the result."""
    return _scale("skip_init", [shortcut, residual], skip_gain, alpha)


@formulas.skip_init_residual_vjp.fast_path("cupy")
def skip_init_residual_vjp(cotangent: Array, skip_gain: Array | float, *, alpha: float) -> Array:
    """One launch."""
    return _scale("skip_init_residual_vjp", [cotangent], skip_gain, alpha)


@formulas.skip_init_skip_gain_vjp.fast_path("cupy")
def skip_init_skip_gain_vjp(cotangent: Array, residual: Array, *, alpha: float) -> Array:
    """Two launches: the sums of many blocks, then their sum."""
    if not cuda.supports(cotangent, residual) or cotangent.shape != residual.shape or type(alpha) not in (int, float):
        return NotImplemented
    cotangent, residual = cuda.contiguous(cotangent, residual)
    out = cuda.empty((), residual.dtype)
    wide = cuda.accumulator_type(residual.dtype)
    blocks = min(MOST_BLOCKS, cuda.ceil_div(residual.nbytes, 16 * cuda.THREADS))
    of_block = cuda.empty((blocks,), wide)
    KERNELS.launch("dot_of_blocks", (out.dtype,), blocks, cuda.THREADS, cotangent, residual, of_block,
                   numpy.int64(residual.size))
    KERNELS.launch("scaled_sum_of_blocks", (out.dtype,), 1, cuda.THREADS, of_block, out, numpy.int64(blocks),
                   wide(alpha))
    return out
