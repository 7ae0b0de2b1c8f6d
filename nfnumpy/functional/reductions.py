"""Sums, means, variances and extremes over axes. `axis`: a number, a tuple of them, or None for all."""

import math

from ..backend import namespace


def _axes(shape, axis):
    """The reduced axes as a tuple of non-negative numbers."""
    if axis is None:
        return tuple(range(len(shape)))
    return tuple(a % len(shape) for a in ((axis,) if isinstance(axis, int) else axis))


def _spread(reduced, shape, axis):
    """A reduced array (with or without its axes kept) repeated over `shape`."""
    xp, axes = namespace(reduced), _axes(shape, axis)
    kept = tuple(1 if a in axes else size for a, size in enumerate(shape))
    return xp.broadcast_to(xp.reshape(reduced, kept), tuple(shape))


def sum(x, *, axis=None, keepdims=False):
    """Sum over `axis`."""
    return namespace(x).sum(x, axis=axis, keepdims=keepdims)


def sum_vjp(cotangent, x_shape, *, axis=None, keepdims=False):
    return _spread(cotangent, x_shape, axis)


def mean(x, *, axis=None, keepdims=False):
    """Arithmetic mean over `axis`."""
    return namespace(x).mean(x, axis=axis, keepdims=keepdims)


def mean_vjp(cotangent, x_shape, *, axis=None, keepdims=False):
    count = math.prod(x_shape[a] for a in _axes(x_shape, axis))
    return _spread(cotangent / count, x_shape, axis)


def variance(x, *, axis=None, keepdims=False):
    """Biased variance (divided by the count, not the count less one) over `axis`."""
    return namespace(x).var(x, axis=axis, keepdims=keepdims)


def variance_vjp(cotangent, x, *, axis=None, keepdims=False):
    axes = _axes(x.shape, axis)
    count = math.prod(x.shape[a] for a in axes)
    centred = x - namespace(x).mean(x, axis=axes, keepdims=True)
    return _spread(cotangent * (2.0 / count), x.shape, axis) * centred


def max(x, *, axis=None, keepdims=False):
    """Greatest value over `axis`; ties share the derivative evenly."""
    return namespace(x).max(x, axis=axis, keepdims=keepdims)


def min(x, *, axis=None, keepdims=False):
    """Least value over `axis`; ties share the derivative evenly."""
    return namespace(x).min(x, axis=axis, keepdims=keepdims)


def extreme_vjp(cotangent, x, output, *, axis=None, keepdims=False):
    """For `max` and `min` alike."""
    xp = namespace(x)
    chosen = xp.astype(x == _spread(output, x.shape, axis), x.dtype)
    return _spread(cotangent, x.shape, axis) * chosen / xp.sum(chosen, axis=_axes(x.shape, axis), keepdims=True)
