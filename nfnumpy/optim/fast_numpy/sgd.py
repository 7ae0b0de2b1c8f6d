"""`sgd.clipped_update`: a tensor's norms, then its clipping, decay, momentum and change while it is in the cache."""

from typing import NamedTuple

import numpy

from ...backend import blas_threads, blocking, scratch
from ..sgd import clipped_update as clipped_update_formula
from ..agc import clip_factor_from_norms, is_single_unit
from . import lists
from .lists import covered, empty_like, share_out, size_of


class Options(NamedTuple):
    """What is the same for all tensors of a step."""

    lr: float
    momentum: float
    nesterov: bool
    eps: float


@clipped_update_formula.fast_path("numpy")
def clipped_update(params, grads, velocities, *, lr, momentum=0.9, nesterov=True, weight_decays, clippings, eps=1e-3,
                   inverse_scale=None, proceed=None):
    """Columns of a matrix of weights are taken together, up to a piece of work; so are all vectors.

    A piece's squares are added up first; then it is changed block by block, by the formula's own operations.
    """
    thresholds = [-1.0 if clipping is None else clipping for clipping in clippings]
    if (inverse_scale is not None or proceed is not None or not len(params) == len(weight_decays) == len(clippings)
            or not covered([lr, momentum, eps, *weight_decays, *thresholds], params, grads, velocities)):
        return NotImplemented
    options, size = Options(lr, momentum, nesterov, eps), size_of(params)
    new_params, new_velocities = empty_like(params), empty_like(params)
    # adjacent whole rows take half as long as parts of them
    largest = max(lists.BLOCK, size // blas_threads.thread_count())
    pieces, vectors = [], {}
    for k, param in enumerate(params):
        if is_single_unit(param.shape):
            vectors.setdefault((weight_decays[k], clippings[k]), []).append(k)
        elif param.size:
            arrays = [array.reshape(-1, param.shape[-1]) for array in (
                param, grads[k], velocities[k], new_params[k], new_velocities[k])]
            pieces += [([array[:, units] for array in arrays], weight_decays[k], clippings[k])
                       for units in blocking.split_evenly(param.shape[-1], -(-param.size // largest))]
    pieces.sort(key=lambda piece: -piece[0][0].size)
    clipped = sum(share_out(lambda piece: _update_units(*piece, options), pieces, size))
    for (weight_decay, clipping), chosen in vectors.items():
        own = [[arrays[k] for k in chosen] for arrays in (params, grads, velocities, new_params, new_velocities)]
        clipped += _update_vectors(*own, weight_decay, clipping, options)
    return new_params, new_velocities, numpy.asarray(clipped, dtype=numpy.int64)


def _update_units(arrays, weight_decay, clipping, options):
    """Update a piece, of which each column is a unit; how many of them are clipped."""
    if clipping is None:
        _update(arrays, None, weight_decay, options)
        return 0
    param_norm, norm = (numpy.sqrt(numpy.einsum("ij,ij->j", array, array)) for array in arrays[:2])
    factor = clip_factor_from_norms(norm, param_norm, clipping, options.eps)
    clipped = numpy.count_nonzero(factor < 1.0)
    _update(arrays, factor if clipped else None, weight_decay, options)
    return clipped


def _update_vectors(params, grads, velocities, new_params, new_velocities, weight_decay, clipping, options):
    """Update tensors of one unit each as if they were one long row; how many of them are clipped."""
    sizes, clipped = numpy.asarray([param.size for param in params]), 0
    param, grad, velocity = (numpy.concatenate([array.reshape(1, -1) for array in arrays], axis=1)
                             for arrays in (params, grads, velocities))
    factor, new = None, [numpy.empty_like(param), numpy.empty_like(param)]
    if clipping is not None:
        factors = clip_factor_from_norms(_norms(grad, sizes), _norms(param, sizes), clipping, options.eps)
        clipped, factor = numpy.count_nonzero(factors < 1.0), numpy.repeat(factors, sizes)
    for run in blocking.split_evenly(param.size, -(-param.size // lists.BLOCK)):
        _update([row[:, run] for row in (param, grad, velocity, *new)], None if factor is None else factor[run],
                weight_decay, options)
    for arrays, row in zip((new_params, new_velocities), new):
        for array, start, stop in zip(arrays, numpy.cumsum(sizes) - sizes, numpy.cumsum(sizes)):
            array.reshape(-1)[...] = row[0, start:stop]
    return clipped


def _norms(row, sizes):
    """The L2 norms of the pieces of these sizes that a row (1, values) consists of."""
    norms = numpy.zeros(len(sizes), dtype=row.dtype)
    if row.size:
        starts = (numpy.cumsum(sizes) - sizes)[sizes > 0]
        norms[sizes > 0] = numpy.sqrt(numpy.add.reduceat(row[0] * row[0], starts))
    return norms


def _update(arrays, factor, weight_decay, options):
    """The formula in blocks of rows, on (param, grad, velocity, new param, new velocity), all (rows, columns)."""
    count, columns = arrays[0].shape
    rows, dtype = max(1, min(count, -(-lists.BLOCK // max(columns, 1)))), arrays[0].dtype
    factors, room = (scratch.empty(name, (rows, columns), dtype) for name in ("factors", "change"))
    if factor is not None:
        factors[...] = factor  # a product with rows side by side is twice as fast as one with a repeated row
    for start in range(0, count, rows):
        param, grad, velocity, new_param, new_velocity = (array[start:start + rows] for array in arrays)
        change = room[:len(param)]
        if factor is not None:
            grad = numpy.multiply(grad, factors[:len(param)], out=new_param)
        if weight_decay:
            grad = numpy.add(grad, numpy.multiply(param, weight_decay, out=change), out=new_param)
        numpy.multiply(velocity, options.momentum, out=new_velocity)
        new_velocity += grad
        if options.nesterov:
            numpy.multiply(new_velocity, options.momentum, out=change)
            change += grad
            change *= options.lr
        else:
            numpy.multiply(new_velocity, options.lr, out=change)
        numpy.subtract(param, change, out=new_param)
