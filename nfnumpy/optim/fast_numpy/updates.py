"""What the optimizers' fast paths share: a tensor's norms, then its update block by block, while it is in the cache.

Used by: sgd.py, rmsprop.py, which say what is done to a block. Formulas: optimizer.py, agc.py. Norms: norms.py.
Test: fast_numpy/test_optimizer.py.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy

from ...backend import blas_threads, blocking, scratch, tuning
from ..agc import SMALLEST_GRADIENT_NORM, is_single_unit, unit_factors
from .lists import covered, empty_like, size_of
from .norms import column_norms, piece_norms

Arrays = list[numpy.ndarray]


class Tensors(NamedTuple):
    """What an update reads and writes of one tensor, or of a part of it; all of one shape.

    state, new_state: what the optimizer keeps of it.
    """

    param: numpy.ndarray
    grad: numpy.ndarray
    state: tuple[numpy.ndarray, ...]
    new_param: numpy.ndarray
    new_state: tuple[numpy.ndarray, ...]

    def map(self, function: Callable[[numpy.ndarray], numpy.ndarray]) -> "Tensors":
        """The Tensors that `function` makes of each array."""
        return Tensors(function(self.param), function(self.grad), tuple(map(function, self.state)),
                       function(self.new_param), tuple(map(function, self.new_state)))


class Piece(NamedTuple):
    """Whole units, the columns of matrices, with their weight decay and clipping (None for no clipping).

    number: of the tensor among all.
    """

    number: int
    tensors: Tensors
    weight_decay: float
    clipping: float | None


# (block, grad, change): write the new param and state of a block of rows, given its gradient after clipping and decay,
# which may be in the memory of the new param, and working memory of its shape.
Rule = Callable[[Tensors, numpy.ndarray, numpy.ndarray], None]


def updated(rule: Rule, params: Arrays, grads: Arrays, *state: Arrays, numbers: Sequence[float],
            weight_decays: Sequence[float], clippings: Sequence[float | None], eps: float,
            is_scaled: bool) -> tuple[Arrays | numpy.ndarray, ...]:
    """(new params, new lists of `state`, counts of clipped units) by `rule`; NotImplemented for what is not covered.

    numbers: of the rule, which have to be numbers; is_scaled: whether there is a loss scale, which is not covered. The
    rest is as sgd.clipped_update has it. Columns of a matrix of weights are taken together, up to a piece of work; so
    are all vectors. A piece's squares are added up first; then it is changed block by block, by the formula's own
    operations.
    """
    thresholds = [-1.0 if clipping is None else clipping for clipping in clippings]
    if (is_scaled or not len(params) == len(weight_decays) == len(clippings)
            or not covered([*numbers, eps, *weight_decays, *thresholds], params, grads, *state)):
        return NotImplemented
    new_params, new_state = empty_like(params), [empty_like(params) for _ in state]
    tensors = [Tensors(param, grad, old, new_param, new)
               for param, grad, old, new_param, new in zip(params, grads, zip(*state, strict=True), new_params,
                                                           zip(*new_state, strict=True), strict=True)]
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
    counts_of_pieces = blocking.map_by_work(lambda piece: _update_units(piece, rule, eps), pieces, size)
    for piece, clipped in zip(pieces, counts_of_pieces, strict=True):
        counts[piece.number] += numpy.count_nonzero(clipped)
    for (weight_decay, clipping), numbers_of in vectors.items():
        counts[numbers_of] = _update_vectors([tensors[number] for number in numbers_of], weight_decay, clipping, rule,
                                             eps)
    return new_params, *new_state, counts


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


def _update_units(piece, rule, eps):
    """Update a piece, of which each column is a unit; whether each is clipped."""
    tensors = piece.tensors
    if piece.clipping is None:
        _update(tensors, None, piece.weight_decay, rule)
        return False
    tensors, factor, clipped = _clip(tensors, column_norms(tensors.grad), column_norms(tensors.param), piece.clipping,
                                     eps)
    _update(tensors, factor, piece.weight_decay, rule)
    return clipped


def _clip(tensors, grad_norms, param_norms, clipping, eps, sizes=None):
    """(tensors, factor, clipped): what each column's gradient is multiplied by, None for 1; which units are clipped.

    grad_norms, param_norms: of the units, as norms.py returns them; sizes: of units that are pieces of one row, not
    columns. Where a shrink other than 1 acts, the gradients returned have been multiplied by it.
    """
    norm, shrink = grad_norms
    if shrink is None:
        factor, clipped = _factors_without_shrink(norm, param_norms.unscaled(), clipping, eps)
    else:
        shrink, factor, clipped = unit_factors(norm, shrink, param_norms.unscaled(), clipping, eps)
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


def _update_vectors(together, weight_decay, clipping, rule, eps):
    """Update tensors of one unit each as if they were one long row; whether each is clipped."""
    sizes = numpy.asarray([tensors.param.size for tensors in together])

    def joined(arrays):
        return numpy.concatenate([array.reshape(1, -1) for array in arrays], axis=1)

    param, grad = (joined(arrays) for arrays in list(zip(*together, strict=True))[:2])
    state = tuple(map(joined, zip(*(tensors.state for tensors in together), strict=True)))
    row = Tensors(param, grad, state, numpy.empty_like(param), tuple(map(numpy.empty_like, state)))
    updated_row = row
    factor, clipped = None, False
    if clipping is not None:
        updated_row, factor, clipped = _clip(row, piece_norms(row.grad[0], sizes), piece_norms(row.param[0], sizes),
                                             clipping, eps, sizes)
    for run in blocking.split_evenly(row.param.size, -(-row.param.size // tuning.BLOCK_VALUES)):
        _update(updated_row.map(lambda array, run=run: array[:, run]), None if factor is None else factor[run],
                weight_decay, rule)
    ends = numpy.cumsum(sizes)
    for tensors, start, stop in zip(together, ends - sizes, ends, strict=True):
        for own, joint in zip((tensors.new_param, *tensors.new_state), (row.new_param, *row.new_state), strict=True):
            own.reshape(-1)[...] = joint[0, start:stop]
    return clipped


def _update(tensors, factor, weight_decay, rule):
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
        grad = block.grad
        if factor is not None:
            grad = numpy.multiply(grad, factors[:len(change)], out=block.new_param)
        if weight_decay:
            numpy.multiply(block.param, weight_decay, out=change)
            grad = numpy.add(grad, change, out=block.new_param)
        rule(block, grad, change)
