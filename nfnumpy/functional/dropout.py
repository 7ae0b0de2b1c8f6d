"""Dropout and stochastic depth, given the masks; drawing them is the networks' part.

Sources: Srivastava et al. (2014); Huang et al. (2016), arXiv 1603.09382. That stochastic depth does not rescale by
1/keep is the default of the authors' released NFNet code.

Used by: ops.py, nn/. Fast paths: fast_numpy/dropout.py, fast_cupy/dropout.py. Kernel: dropout.cu.
Test: reference_tests/functional/test_operations_against_torch.py.
"""

from ..backend import formula
from ..backend.arrays import Array
from ..errors import InputError
from .checks import Shape, flag, real_number, shown


def keep_probability(rate: float) -> float:
    """1 - rate; InputError unless 0 ≤ rate < 1."""
    if not 0.0 <= real_number(rate, "drop rate") < 1.0:
        raise InputError(f"drop rate: expected a number from 0 up to, not including, 1, got {shown(rate)}")
    return 1.0 - rate


def _check_mask(name: str, mask: Array, shape: Shape) -> None:
    if tuple(mask.shape) != shape:
        raise InputError(f"{name}: expected a mask of shape {shape}, got {tuple(mask.shape)}")


def _check_dropout(x: Array, mask: Array, *, rate: float) -> None:
    keep_probability(rate)
    _check_mask("dropout", mask, tuple(x.shape))


@formula(check=_check_dropout)
def dropout(x: Array, mask: Array, *, rate: float) -> Array:
    """x·mask/(1 - rate); `mask` has x's shape and dtype and holds 1 where a value is kept, 0 elsewhere."""
    return x * mask * (1.0 / keep_probability(rate))


@formula
def dropout_x_vjp(cotangent: Array, mask: Array, *, rate: float) -> Array:
    """The cotangent where a value is kept, divided by 1 - rate."""
    return cotangent * mask * (1.0 / keep_probability(rate))


def _check_stochastic_depth(x: Array, mask: Array, *, rate: float, rescale: bool = False) -> None:
    keep_probability(rate)
    flag(rescale, "rescale")
    if not x.ndim:
        raise InputError("stochastic_depth: expected x (N, …), got a number")
    _check_mask("stochastic_depth", mask, (x.shape[0], *(1 for _ in x.shape[1:])))


@formula(check=_check_stochastic_depth)
def stochastic_depth(x: Array, mask: Array, *, rate: float, rescale: bool = False) -> Array:
    """x (N, …) with whole examples dropped: `mask` (N, 1, …) holds 1 or 0; divided by 1 - rate if `rescale`."""
    return x * mask * (1.0 / keep_probability(rate)) if rescale else x * mask


def stochastic_depth_x_vjp(cotangent: Array, mask: Array, *, rate: float, rescale: bool = False) -> Array:
    return stochastic_depth(cotangent, mask, rate=rate, rescale=rescale)
