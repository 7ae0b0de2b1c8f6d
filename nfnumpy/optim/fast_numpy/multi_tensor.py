"""The fast paths of `scaled_global_norm`, `sam_perturb` and `moving_average`: blocks of all tensors in one map.

Formulas: global_norm.py, sam.py, ema.py. Test: fast_numpy/test_optimizer.py.
"""

import numpy

from ...backend import blocking, scratch, tuning
from ...functional.safe_range import RANGES
from .. import norms
from ..ema import moving_average as moving_average_formula
from ..global_norm import scaled_global_norm as scaled_global_norm_formula
from ..sam import sam_perturb as sam_perturb_formula
from .lists import covered, size_of


@scaled_global_norm_formula.fast_path("numpy")
def scaled_global_norm(arrays: list[numpy.ndarray]) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Each block's squares are a product of a row and a column; the formula takes over where squares are not safe."""
    if not arrays or not covered([], arrays):
        return NotImplemented
    flat = [array.reshape(-1) for array in arrays]
    dtype = arrays[0].dtype

    def sum_squares(piece):
        k, part = piece
        block = flat[k][part]
        return float(numpy.dot(block, block))

    with numpy.errstate(over="ignore", under="ignore"):  # the pool's threads take it over
        total = sum(blocking.map_by_work(sum_squares, blocking.split_arrays(flat), size_of(flat)))
    safe = RANGES[dtype.name]
    if not safe.least**2 <= total <= safe.largest:
        return NotImplemented
    return numpy.asarray(numpy.sqrt(numpy.asarray(total).astype(dtype))), numpy.ones((), dtype)


@sam_perturb_formula.fast_path("numpy")
def sam_perturb(params: list[numpy.ndarray], grads: list[numpy.ndarray], *, rho: float) -> list[numpy.ndarray]:
    """Block by block, once the norm is known."""
    if size_of(params) < tuning.PARALLEL_VALUES or not covered([rho], params, grads):
        return NotImplemented
    norm, by = scaled_global_norm_formula(grads)
    scale = norm.dtype.type(rho) / norm if norm > 0.0 else norm.dtype.type(0.0)
    by, scale = norms.joined(by, scale)
    scale_is_enough = bool(by == 1.0)

    def perturb(out, param, grad):
        change = scratch.empty("change", out.shape, out.dtype)
        if scale_is_enough:
            numpy.multiply(grad, scale, out=change)
        else:
            numpy.multiply(grad, by, out=change)
            change *= scale
        numpy.add(param, change, out=out)

    return blocking.multi_tensor_elementwise(perturb, params, grads)


@moving_average_formula.fast_path("numpy")
def moving_average(averages: list[numpy.ndarray], arrays: list[numpy.ndarray], *,
                   decay: float | numpy.ndarray) -> list[numpy.ndarray]:
    """Block by block."""
    if size_of(averages) < tuning.PARALLEL_VALUES or not covered([decay], averages, arrays):
        return NotImplemented

    def average_of(out, average, array):
        change = scratch.empty("change", out.shape, out.dtype)
        numpy.multiply(average, decay, out=change)
        numpy.multiply(array, 1.0 - decay, out=out)
        numpy.add(change, out, out=out)

    return blocking.multi_tensor_elementwise(average_of, averages, arrays)
