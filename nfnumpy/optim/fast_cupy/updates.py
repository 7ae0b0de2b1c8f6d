"""The fast paths of `clipped_update` and `clipped_rmsprop_update` on CuPy: a whole step in two launches.

Formulas: sgd.py, rmsprop.py, with agc.py. Kernels: backend/kernels/optimizer.cu.
Tests: reference_tests/kernels/test_optimizer.py, test_rmsprop.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy

from ...backend import cuda
from ...backend.arrays import Array
from ..agc import SMALLEST_GRADIENT_NORM
from ..rmsprop import clipped_rmsprop_update as clipped_rmsprop_update_formula
from ..sgd import clipped_update as clipped_update_formula
from .lists import KERNELS, address_of, are_numbers, common_shapes, entries_of, is_scalar, pieces_by_tensor

UNIT_THREADS = 256  # of a block, see lists._unit_pieces
TOTAL_THREADS = 128  # of a block that adds up the counts of one tensor's pieces, at most some hundred


def _entry(states: int) -> numpy.dtype:
    """The struct UpdateEntry of optimizer.cu for an optimizer with so many arrays of state; an address is an int64."""
    addresses = ["param", "grad", *(f"state{k}" for k in range(states)), "new_param",
                 *(f"new_state{k}" for k in range(states))]
    return numpy.dtype([(name, numpy.int64) for name in addresses]
                       + [("weight_decay", numpy.float64), ("clipping", numpy.float64)])


ENTRIES = {states: _entry(states) for states in (1, 2)}


@clipped_update_formula.fast_path("cupy")
def clipped_update(params: list[Array], grads: list[Array], velocities: list[Array], *, lr: float,
                   momentum: float = 0.9, nesterov: bool = True, weight_decays: Sequence[float],
                   clippings: Sequence[float | None], eps: float = 1e-3, inverse_scale: Array | None = None,
                   proceed: Array | None = None) -> tuple[list[Array] | Array, ...]:
    """Norms and update in one launch, the counts of clipped units in a second one."""
    return _updated("clipped_update", params, grads, velocities, numbers=[lr, momentum], flags=[nesterov],
                    weight_decays=weight_decays, clippings=clippings, eps=eps, inverse_scale=inverse_scale,
                    proceed=proceed)


@clipped_rmsprop_update_formula.fast_path("cupy")
def clipped_rmsprop_update(params: list[Array], grads: list[Array], square_averages: list[Array],
                           velocities: list[Array], *, lr: float, decay: float = 0.9, momentum: float = 0.9,
                           epsilon: float = 1e-3, weight_decays: Sequence[float], clippings: Sequence[float | None],
                           eps: float = 1e-3, inverse_scale: Array | None = None, proceed: Array | None = None
                           ) -> tuple[list[Array] | Array, ...]:
    """Norms and update in one launch, the counts of clipped units in a second one."""
    return _updated("clipped_rmsprop_update", params, grads, square_averages, velocities,
                    numbers=[lr, decay, momentum, epsilon], flags=[], weight_decays=weight_decays, clippings=clippings,
                    eps=eps, inverse_scale=inverse_scale, proceed=proceed)


def _updated(kernel: str, params: list[Array], grads: list[Array], *state: list[Array], numbers: list[Any],
             flags: list[bool], weight_decays: Sequence[float], clippings: Sequence[float | None], eps: float,
             inverse_scale: Array | None, proceed: Array | None) -> tuple[list[Array] | Array, ...]:
    """(new params, new lists of `state`, counts of clipped units) by `kernel`; NotImplemented for what it has not.

    numbers, flags: of the rule, in the order of the kernel's arguments.
    """
    shapes = common_shapes(params, grads, *state)
    thresholds = [-1.0 if clipping is None else clipping for clipping in clippings]
    if (shapes is None or not are_numbers(*numbers, eps, *weight_decays, *thresholds)
            or not len(shapes) == len(weight_decays) == len(clippings)
            or not is_scalar(inverse_scale, params[0].dtype) or not is_scalar(proceed, numpy.bool_)):
        return NotImplemented
    dtype = params[0].dtype
    wide = cuda.accumulator_type(dtype)
    in_units = tuple(clipping is not None for clipping in clippings)
    pieces, *by_tensor = pieces_by_tensor(shapes, in_units)
    given = [cuda.contiguous(*arrays) for arrays in (params, grads, *state)]
    new = [[cuda.empty(shape, dtype) for shape in shapes] for _ in (params, *state)]
    entries = entries_of(ENTRIES[len(state)], *given, *new, weight_decays, thresholds)
    clipped = cuda.empty((len(pieces),), numpy.int64)
    KERNELS.launch(kernel, (dtype,), len(pieces), UNIT_THREADS, pieces, entries, *map(wide, numbers),
                   *map(numpy.bool_, flags), wide(eps), wide(SMALLEST_GRADIENT_NORM), address_of(inverse_scale),
                   address_of(proceed), clipped)
    counts = cuda.empty((len(shapes),), numpy.int64)
    KERNELS.launch("totals", ("int64",), len(shapes), TOTAL_THREADS, clipped, *by_tensor, counts)
    return *new, counts
