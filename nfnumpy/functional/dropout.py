"""Dropout and stochastic depth, given the masks; who draws them is not the formula's business.

Sources: Srivastava et al. (2014); Huang et al. (2016), arXiv 1603.09382. That stochastic depth does not rescale by
1/keep is the default of the authors' released NFNet code.
"""

from ..backend import formula
from ..errors import InputError


def keep_probability(rate):
    """1 - rate; InputError unless 0 ≤ rate < 1."""
    if not 0.0 <= rate < 1.0:
        raise InputError(f"drop rate: expected a number from 0 up to, not including, 1, got {rate!r}")
    return 1.0 - rate


@formula
def dropout(x, mask, *, rate):
    """x·mask/(1 - rate); `mask` has x's shape and dtype and holds 1 where a value is kept, 0 elsewhere."""
    _check_mask("dropout", mask, tuple(x.shape))
    return x * mask * (1.0 / keep_probability(rate))


def _check_mask(name, mask, shape):
    if tuple(mask.shape) != shape:
        raise InputError(f"{name}: expected a mask of shape {shape}, got {tuple(mask.shape)}")


@formula
def dropout_x_vjp(cotangent, mask, *, rate):
    return cotangent * mask * (1.0 / keep_probability(rate))


@formula
def stochastic_depth(x, mask, *, rate, rescale=False):
    """x (N, …) with whole examples dropped: `mask` (N, 1, …) holds 1 or 0; divided by 1 - rate if `rescale`."""
    _check_mask("stochastic_depth", mask, (x.shape[0], *(1 for _ in x.shape[1:])))
    return x * mask * (1.0 / keep_probability(rate)) if rescale else x * mask


def stochastic_depth_x_vjp(cotangent, mask, *, rate, rescale=False):
    return stochastic_depth(cotangent, mask, rate=rate, rescale=rescale)
