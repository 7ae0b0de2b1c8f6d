"""`scaled_global_norm`, `sam_perturb` and `moving_average`: element by element, across the borders of tensors."""

import numpy

from ...backend import scratch, tuning
from ...functional.safe_range import RANGES
from .. import norms
from ..ema import moving_average as moving_average_formula
from ..global_norm import scaled_global_norm as scaled_global_norm_formula
from ..sam import sam_perturb as sam_perturb_formula
from .lists import covered, empty_like, share_out, size_of


def _runs(arrays):
    """(number of an array, slice of its flattened values) for blocks that cover all arrays, the largest first."""
    runs = [(k, slice(start, min(start + tuning.BLOCK_VALUES, array.size))) for k, array in enumerate(arrays)
            for start in range(0, array.size, tuning.BLOCK_VALUES)]
    return sorted(runs, key=lambda run: run[1].start - run[1].stop)


@scaled_global_norm_formula.fast_path("numpy")
def scaled_global_norm(arrays):
    """Each block's squares are a product of a row and a column; the formula takes over where squares are not safe."""
    if not arrays or not covered([], arrays):
        return NotImplemented
    flat = [array.reshape(-1) for array in arrays]
    dtype = arrays[0].dtype

    def add_up(run):
        block = flat[run[0]][run[1]]
        with numpy.errstate(over="ignore", under="ignore"):
            return float(numpy.dot(block, block))

    total = sum(share_out(add_up, _runs(flat), size_of(flat)))
    if not RANGES[dtype.name].least**2 <= total <= numpy.finfo(dtype).max:
        return NotImplemented
    return numpy.asarray(numpy.sqrt(numpy.asarray(total).astype(dtype))), numpy.ones((), dtype)


def _blockwise(function, firsts, seconds):
    """New arrays, of which function(first, second, out, working memory) fills every block."""
    out = empty_like(firsts)
    flat = [[array.reshape(-1) for array in arrays] for arrays in (firsts, seconds, out)]

    def fill(run):
        first, second, new = (arrays[run[0]][run[1]] for arrays in flat)
        function(first, second, new, scratch.empty("change", new.shape, new.dtype))

    share_out(fill, _runs(out), size_of(out))
    return out


@sam_perturb_formula.fast_path("numpy")
def sam_perturb(params, grads, *, rho):
    """Block by block, once the norm is known."""
    if size_of(params) < tuning.PARALLEL_VALUES or not covered([rho], params, grads):
        return NotImplemented
    norm, by = scaled_global_norm_formula(grads)
    scale = norm.dtype.type(rho) / norm if norm > 0.0 else norm.dtype.type(0.0)
    by, scale = norms.joined(by, scale)

    def perturb(param, grad, out, change):
        numpy.multiply(grad, scale, out=change)
        numpy.add(param, change, out=out)

    def perturb_scaled(param, grad, out, change):
        numpy.multiply(grad, by, out=change)
        change *= scale
        numpy.add(param, change, out=out)

    return _blockwise(perturb if by == 1.0 else perturb_scaled, params, grads)


@moving_average_formula.fast_path("numpy")
def moving_average(averages, arrays, *, decay):
    """Block by block."""
    if size_of(averages) < tuning.PARALLEL_VALUES or not covered([decay], averages, arrays):
        return NotImplemented

    def average_of(average, array, out, change):
        numpy.multiply(average, decay, out=change)
        numpy.multiply(array, 1.0 - decay, out=out)
        numpy.add(change, out, out=out)

    return _blockwise(average_of, averages, arrays)
