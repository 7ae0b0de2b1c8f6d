"""`global_norm`, `sam.sam_perturb` and `ema.moving_average`: element by element, wherever a tensor begins or ends."""

import numpy

from ...backend import scratch
from ..ema import moving_average as moving_average_formula
from ..global_norm import global_norm as global_norm_formula
from ..sam import sam_perturb as sam_perturb_formula
from . import lists
from .lists import covered, empty_like, share_out, size_of


def _runs(arrays):
    """(number of an array, slice of its flattened values) for blocks that cover all arrays, the largest first."""
    return sorted(((k, slice(start, min(start + lists.BLOCK, array.size))) for k, array in enumerate(arrays)
                   for start in range(0, array.size, lists.BLOCK)), key=lambda run: run[1].start - run[1].stop)


@global_norm_formula.fast_path("numpy")
def global_norm(arrays):
    """Each block's squares are a product of a row and a column."""
    if not covered([], arrays):
        return NotImplemented
    flat, dtype = [array.reshape(-1) for array in arrays], arrays[0].dtype

    def add_up(run):
        block = flat[run[0]][run[1]]
        return float(numpy.dot(block, block))

    total = sum(share_out(add_up, _runs(flat), size_of(flat)))
    return numpy.asarray(numpy.sqrt(numpy.asarray(total).astype(dtype)))


def _blockwise(function, firsts, seconds):
    """New arrays, of which function(first, second, out, room) fills every block."""
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
    if size_of(params) < lists.WORTH_THREADS or not covered([rho], params, grads):
        return NotImplemented
    norm = global_norm(grads)
    scale = norm.dtype.type(rho) / norm if norm > 0.0 else norm.dtype.type(0.0)
    return _blockwise(lambda param, grad, out, room: numpy.add(
        param, numpy.multiply(grad, scale, out=room), out=out), params, grads)


@moving_average_formula.fast_path("numpy")
def moving_average(averages, arrays, *, decay):
    """Block by block."""
    if size_of(averages) < lists.WORTH_THREADS or not covered([decay], averages, arrays):
        return NotImplemented
    return _blockwise(lambda average, array, out, room: numpy.add(
        numpy.multiply(average, decay, out=room), numpy.multiply(array, 1.0 - decay, out=out), out=out),
        averages, arrays)
