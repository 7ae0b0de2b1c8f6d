"""Adaptive gradient clipping: a unit's gradient may not exceed a share of the unit's own norm.

    G ← G·min(1, clipping·max(‖W‖, eps)/‖G‖)    for the weights W of each output unit and their gradient G

Source: Brock et al. (2021b), arXiv 2102.06171, eq. 3 and section 3; units as in the authors' released code.

Used by: optimizer.py (`scaled_and_clipped`), by which every optimizer clips. Fast paths of the clipped updates:
fast_numpy/updates.py (`_clip`), fast_cupy/updates.py. Kernel: backend/kernels/optimizer.cu (`clip_units`).
Tests: reference_tests/optim/test_agc.py, test_norms.py; fast_numpy/test_optimizer.py and kernels/test_optimizer.py.
"""

from typing import NamedTuple

from ..backend import as_array, namespace
from ..backend.arrays import Array
from ..errors import InputError
from ..functional.checks import shown
from .checks import is_finite_number
from .norms import joined, scaled_norm, shrunk, widened

SMALLEST_GRADIENT_NORM = 1e-6  # of the authors' code: what is divided by is at least this


def is_single_unit(shape: tuple[int, ...]) -> bool:
    """Whether a tensor of that shape (a bias, a gain, a scalar) has at most one axis longer than 1."""
    return sum(size != 1 for size in shape) <= 1


def unit_count(shape: tuple[int, ...]) -> int:
    """How many norms `unitwise_norm` gives for a tensor of that shape."""
    return 1 if is_single_unit(shape) else shape[-1]


def _unit_axes(shape):
    """The axes that a unit extends over: None, for all, if the tensor is a single unit."""
    return None if is_single_unit(shape) else tuple(range(len(shape) - 1))


def unitwise_norm(w: Array) -> Array:
    """The L2 norm of each output unit of an array, in its dtype.

    (kh, kw, in, out): one a channel, (1, 1, 1, out); (in, out): one a column, (1, out); an array with at most one axis
    longer than 1 (biases, gains, scalars) is a single unit, (). InputError for what is no array of floating numbers.
    """
    norm, by = scaled_norm(widened(w), _unit_axes(w.shape))
    return as_array(namespace(w).astype(norm / by, w.dtype, copy=False))


class UnitFactors(NamedTuple):
    """What AGC multiplies each unit's gradient by, first by `shrink`, then by `factor`; arrays of the norms' shape.

    shrink: 1, or a power of two where the factor alone would be below the dtype's range;
    clipped: whether the unit is too long; where it is not, both are 1.
    """

    shrink: Array
    factor: Array
    clipped: Array


def unit_factors(norm: Array, shrink: Array, param_norm: Array, clipping: float, eps: float) -> UnitFactors:
    """The factors for gradients of unit-wise norms norm/shrink (see norms.shrunk) of parameters of norm `param_norm`.

    `shrink` is 1 for all norms whose squares are in the dtype's range. A unit whose norm is infinite or NaN is left as
    it is, so that what is not finite stays visible.
    """
    xp = namespace(norm)
    largest = xp.clip(param_norm, eps, None) * clipping
    clipped = (norm > largest * shrink) & xp.isfinite(norm)
    one = xp.ones_like(norm)
    numerator = xp.where(clipped, largest, xp.zeros_like(norm))  # the quotients of other units might overflow
    quotient = numerator / xp.maximum(norm, SMALLEST_GRADIENT_NORM * shrink)
    shrink, factor = joined(xp.where(clipped, shrink, one), xp.where(clipped, quotient, one))
    return UnitFactors(shrink, factor, clipped)


def _factors(grad, param, clipping, eps):
    """`unit_factors` of a gradient and a parameter of float32 or float64."""
    axes = _unit_axes(grad.shape)
    norm, shrink = shrunk(*scaled_norm(grad, axes))
    param_norm, by = scaled_norm(param, axes)
    return unit_factors(norm, shrink, param_norm / by, clipping, eps)


def clip_factor(grad: Array, param: Array, *, clipping: float = 0.01, eps: float = 1e-3) -> Array:
    """What AGC multiplies each unit's gradient by: 1, or lambda·max(‖W‖, eps)/‖G‖ where that is less.

    grad and param of one shape; the result has the shape of their unit-wise norms, in float32 for half precision.
    InputError as for `adaptive_gradient_clip`.
    """
    _check_arguments("clip_factor", grad, param, clipping, eps)
    factors = _factors(widened(grad), widened(param), clipping, eps)
    return as_array(factors.shrink * factors.factor)


def adaptive_gradient_clip(grad: Array, param: Array, clipping: float = 0.01, eps: float = 1e-3,
                           return_clipped: bool = False) -> Array | tuple[Array, Array]:
    """The gradient (an array of param's shape) with every unit's norm brought to at most clipping·max(‖W‖, eps).

    A unit within that bound is itself bit for bit, and so is a unit with an infinite or NaN entry: an infinite gradient
    stays infinite, and the weights it is subtracted from too. return_clipped: return (gradient, whether each unit was
    too long), the latter a bool array of the shape of the unit-wise norms.

    InputError for shapes that differ, or a clipping or eps that is not positive.
    """
    _check_arguments("adaptive_gradient_clip", grad, param, clipping, eps)
    xp = namespace(grad)
    wide = widened(grad)
    factors = _factors(wide, widened(param), clipping, eps)
    result = as_array(xp.astype(wide * factors.shrink * factors.factor, grad.dtype, copy=False))
    return (result, as_array(factors.clipped)) if return_clipped else result


def _check_arguments(caller, grad, param, clipping, eps):
    """InputError, naming `caller`, unless grad and param are arrays of one shape, clipping and eps positive numbers."""
    try:
        namespace(grad)
        namespace(param)
    except TypeError:
        raise InputError(f"{caller}: expected two arrays, a gradient and a parameter, got {type(grad).__name__} and "
                         f"{type(param).__name__}") from None
    if tuple(grad.shape) != tuple(param.shape):
        raise InputError(f"{caller}: gradient {tuple(grad.shape)} and parameter {tuple(param.shape)} differ in shape")
    if not all(is_finite_number(value) and value > 0.0 for value in (clipping, eps)):
        raise InputError(f"{caller}: clipping={shown(clipping)}, eps={shown(eps)}: expected positive numbers")
