"""The fast path of `sgd.clipped_update`: a tensor's norms, then its update block by block, while it is in the cache.

Formulas: sgd.py, agc.py. Norms: norms.py. Test: fast_numpy/test_optimizer.py.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy

from ...backend import blas_threads, blocking, scratch, tuning
from ..agc import SMALLEST_GRADIENT_NORM, is_single_unit, unit_factors
from ..sgd import clipped_update as clipped_update_formula
from .lists import covered, empty_like, size_of
from .norms import column_norms, piece_norms


class Options(NamedTuple):
    """What is the same for all tensors of a step."""

    lr: float
    momentum: float
    nesterov: bool
    eps: float


class Tensors(NamedTuple):
    """What an update reads and writes of one tensor, or of a part of it; all of one shape."""

    param: numpy.ndarray
    grad: numpy.ndarray
    velocity: numpy.ndarray
    new_param: numpy.ndarray
    new_velocity: numpy.ndarray

    def map(self, function: Callable[[numpy.ndarray], numpy.ndarray]) -> "Tensors":
        """The Tensors that `function` makes of each array."""
        return Tensors(*map(function, self))


class Piece(NamedTuple):
    """Whole units, the columns of matrices, with their weight decay and clipping (None for no clipping).

    number: of the tensor among all.
    """

    number: int
    tensors: Tensors
    weight_decay: float
    clipping: float | None


@clipped_update_formula.fast_path("numpy")
def clipped_update(params: list[numpy.ndarray], grads: list[numpy.ndarray], velocities: list[numpy.ndarray], *,
                   lr: float, momentum: float = 0.9, nesterov: bool = True, weight_decays: Sequence[float],
                   clippings: Sequence[float | None], eps: float = 1e-3, inverse_scale: numpy.ndarray | None = None,
                   proceed: numpy.ndarray | None = None
                   ) -> tuple[list[numpy.ndarray], list[numpy.ndarray], numpy.ndarray]:
    """Columns of a matrix of weights are taken together, up to a piece of work; so are all vectors.

    A piece's squares are added up first; then it is changed block by block, by the formula's own operations.
    """
    thresholds = [-1.0 if clipping is None else clipping for clipping in clippings]
    if (inverse_scale is not None or proceed is not None or not len(params) == len(weight_decays) == len(clippings)
            or not covered([lr, momentum, eps, *weight_decays, *thresholds], params, grads, velocities)):
        return NotImplemented
    options = Options(lr, momentum, nesterov, eps)
    new_params, new_velocities = empty_like(params), empty_like(params)
    tensors = [Tensors(*arrays) for arrays in zip(params, grads, velocities, new_params, new_velocities, strict=True)]
    size = size_of(params)
    pieces: list[Piece] = []
    vectors: dict[tuple[float, float | None], list[int]] = {}  # their numbers, by (weight decay, clipping)
    for number, (own, weight_decay, clipping) in enumerate(zip(tensors, weight_decays, clippings, strict=True)):
        if is_single_unit(own.param.shape):
            vectors.setdefault((weight_decay, clipping), []).append(number)
        elif own.param.size:
            pieces += [Piece(number, columns, weight_decay, clipping) for columns in _columns(own, size)]
    pieces.sort(key=lambda piece: -piece.tensors.param.size)
    counts = numpy.zeros(len(params), dtype=numpy.int64)
    counts_of_pieces = blocking.map_by_work(lambda piece: _update_units(piece, options), pieces, size)
    for piece, clipped in zip(pieces, counts_of_pieces, strict=True):
        counts[piece.number] += numpy.count_nonzero(clipped)
    for (weight_decay, clipping), numbers in vectors.items():
        counts[numbers] = _update_vectors([tensors[number] for number in numbers], weight_decay, clipping, options)
    return new_params, new_velocities, counts


def _columns(tensors, size):
    """A tensor of several units as matrices of whole columns, each a piece of work; size: values of all tensors.

    Whole rows take half as long as parts of them, so there are no more pieces than the threads need.
    """
    largest = max(tuning.BLOCK_VALUES, size // blas_threads.thread_count())
    units = tensors.param.shape[-1]
    matrices = tensors.map(lambda array: array.reshape(-1, units))
    if tensors.param.size <= largest:
        yield matrices
        return
    for columns in blocking.split_evenly(units, -(-tensors.param.size // largest)):
        yield matrices.map(lambda matrix, columns=columns: matrix[:, columns])


def _update_units(piece, options):
    """Update a piece, of which each column is a unit; whether each is clipped."""
    tensors = piece.tensors
    if piece.clipping is None:
        _update(tensors, None, piece.weight_decay, options)
        return False
    tensors, factor, clipped = _clip(tensors, column_norms(tensors.grad), column_norms(tensors.param), piece.clipping,
                                   options)
    _update(tensors, factor, piece.weight_decay, options)
    return clipped


def _clip(tensors, grad_norms, param_norms, clipping, options, sizes=None):
    """(tensors, factor, clipped): what each column's gradient is multiplied by, None for 1; which units are clipped.

    grad_norms, param_norms: of the units, as norms.py returns them; sizes: of units that are pieces of one row, not
    columns. Where a shrink other than 1 acts, the gradients returned have been multiplied by it.
    """
    norm, shrink = grad_norms
    if shrink is None:
        factor, clipped = _factors_without_shrink(norm, param_norms.unscaled(), clipping, options.eps)
    else:
        shrink, factor, clipped = unit_factors(norm, shrink, param_norms.unscaled(), clipping, options.eps)
    if not clipped.any():
        return tensors, None, clipped

    def of_columns(values):
        return values if sizes is None else numpy.repeat(values, sizes)

    if shrink is not None:
        tensors = tensors._replace(grad=tensors.grad * of_columns(shrink))
    return tensors, of_columns(factor), clipped


def _factors_without_shrink(norm, param_norm, clipping, eps):
    """The factor and clipped of `unit_factors`, to the bit, where every shrink is 1: nearly always."""
    largest = numpy.maximum(param_norm, eps) * clipping
    clipped = (norm > largest) & numpy.isfinite(norm)
    factor = numpy.ones_like(norm)
    numpy.divide(largest, numpy.maximum(norm, SMALLEST_GRADIENT_NORM), out=factor, where=clipped)
    return factor, clipped


def _update_vectors(together, weight_decay, clipping, options):
    """Update tensors of one unit each as if they were one long row; whether each is clipped."""
    sizes = numpy.asarray([tensors.param.size for tensors in together])
    rows = [numpy.concatenate([array.reshape(1, -1) for array in arrays], axis=1)
            for arrays in list(zip(*together, strict=True))[:3]]
    row = Tensors(*rows, numpy.empty_like(rows[0]), numpy.empty_like(rows[0]))
    updated = row
    factor, clipped = None, False
    if clipping is not None:
        updated, factor, clipped = _clip(row, piece_norms(row.grad[0], sizes), piece_norms(row.param[0], sizes),
                                       clipping, options, sizes)
    for run in blocking.split_evenly(row.param.size, -(-row.param.size // tuning.BLOCK_VALUES)):
        _update(updated.map(lambda array, run=run: array[:, run]), None if factor is None else factor[run],
                weight_decay, options)
    ends = numpy.cumsum(sizes)
    for tensors, start, stop in zip(together, ends - sizes, ends, strict=True):
        tensors.new_param.reshape(-1)[...] = row.new_param[0, start:stop]
        tensors.new_velocity.reshape(-1)[...] = row.new_velocity[0, start:stop]
    return clipped


def _update(tensors, factor, weight_decay, options):
    """The formula in blocks of rows, on matrices (rows, columns); factor: for each column's gradient, None for 1."""
    count, columns = tensors.param.shape
    rows = max(1, min(count, -(-tuning.BLOCK_VALUES // max(columns, 1))))
    factors = scratch.empty("factors", (rows, columns), tensors.param.dtype)
    working = scratch.empty("change", (rows, columns), tensors.param.dtype)
    if factor is not None:
        factors[...] = factor  # a product with full rows is twice as fast as one with a repeated row
    for start in range(0, count, rows):
        block = tensors.map(lambda array, start=start: array[start:start + rows])
        change = working[:len(block.param)]
        _update_block(block, None if factor is None else factors[:len(change)], weight_decay, options, change)


def _update_block(block, factors, weight_decay, options, change):
    """The formula on a block; factors: of the gradients, None for 1; change: working memory. All of one shape.

    The new parameter's memory holds the clipped and decayed gradient in between.
    """
    grad = block.grad
    if factors is not None:
        grad = numpy.multiply(grad, factors, out=block.new_param)
    if weight_decay:
        numpy.multiply(block.param, weight_decay, out=change)
        grad = numpy.add(grad, change, out=block.new_param)
    numpy.multiply(block.velocity, options.momentum, out=block.new_velocity)
    numpy.add(block.new_velocity, grad, out=block.new_velocity)
    if options.nesterov:
        numpy.multiply(block.new_velocity, options.momentum, out=change)
        change += grad
        change *= options.lr
    else:
        numpy.multiply(block.new_velocity, options.lr, out=change)
    numpy.subtract(block.param, change, out=block.new_param)
