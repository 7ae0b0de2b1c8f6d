"""Sums, means, variances and extremes over axes. `axis`: a number, a tuple of them, or None for all.

The names `sum`, `max` and `min` are NumPy's and PyTorch's, and hide Python's in this module; `builtins` has those.
Used by: ops.py, pooling.py, squeeze_excite.py. Test: reference_tests/functional/test_operations_against_torch.py,
test_against_pytorch_samples.py.
"""

import math
from collections.abc import Callable, Sequence

from ..backend import namespace
from ..backend.arrays import Array
from ..errors import InputError
from .checks import Shape, axes_of, flag

Axis = int | Sequence[int] | None


def _spread(reduced: Array, shape: Shape, axis: Axis) -> Array:
    """A reduced array (with or without its axes kept) repeated over `shape`."""
    xp, axes = namespace(reduced), axes_of(axis, len(shape))
    kept = tuple(1 if a in axes else size for a, size in enumerate(shape))
    return xp.broadcast_to(xp.reshape(reduced, kept), tuple(shape))


def _reduce(function: Callable[..., Array], x: Array, axis: Axis, keepdims: bool) -> Array:
    """A reduction of the array namespace over checked axes."""
    axes = axes_of(axis, x.ndim)
    everything = axis is None or not x.ndim
    return function(x, axis=None if everything else axes, keepdims=flag(keepdims, "keepdims"))


def sum(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Sum over `axis`."""
    return _reduce(namespace(x).sum, x, axis, keepdims)


def sum_vjp(cotangent: Array, x_shape: Shape, *, axis: Axis = None, keepdims: bool = False) -> Array:
    return _spread(cotangent, x_shape, axis)


def mean(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Arithmetic mean over `axis`."""
    return _reduce(namespace(x).mean, x, axis, keepdims)


def mean_vjp(cotangent: Array, x_shape: Shape, *, axis: Axis = None, keepdims: bool = False) -> Array:
    count = math.prod(x_shape[a] for a in axes_of(axis, len(x_shape)))
    return _spread(cotangent / count, x_shape, axis)


def variance(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Biased variance (divided by the count, not the count less one) over `axis`."""
    return _reduce(namespace(x).var, x, axis, keepdims)


def variance_vjp(cotangent: Array, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    axes = axes_of(axis, x.ndim)
    count = math.prod(x.shape[a] for a in axes) or 1  # where it is 0, the gradient has no value
    centred = x - namespace(x).mean(x, axis=axes, keepdims=True)
    return _spread(cotangent * (2.0 / count), x.shape, axis) * centred


def _check_values(name: str, x: Array, axis: Axis) -> None:
    """InputError where the extreme of no value at all is wanted."""
    axes = axes_of(axis, x.ndim)
    if not math.prod(x.shape[a] for a in axes) and math.prod(size for a, size in enumerate(x.shape) if a not in axes):
        raise InputError(f"{name} of {tuple(x.shape)}: there is no value along axis {axis}")


def max(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Greatest value over `axis`; ties share the derivative evenly. InputError where there is no value."""
    _check_values("max", x, axis)
    return _reduce(namespace(x).max, x, axis, keepdims)


def min(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Least value over `axis`; ties share the derivative evenly. InputError where there is no value."""
    _check_values("min", x, axis)
    return _reduce(namespace(x).min, x, axis, keepdims)


def extreme_vjp(cotangent: Array, x: Array, output: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """For `max` and `min` alike."""
    xp, axes = namespace(x), axes_of(axis, x.ndim)
    chosen = xp.astype(x == _spread(output, x.shape, axis), x.dtype)
    return _spread(cotangent, x.shape, axis) * chosen / xp.sum(chosen, axis=axes, keepdims=True)
