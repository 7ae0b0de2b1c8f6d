"""Scaled weight standardization: every output unit's weights get mean 0 and the norm of its gain.

Source: Brock, De, Smith (2021a), arXiv 2101.08692, eq. 3; Brock et al. (2021b), arXiv 2102.06171, section 2. The
floor on the variance is that of the authors' released code: max(N·sigma², eps), not a sum. Weights whose squares leave
the range of their dtype are multiplied by a power of two first, which changes no digit of the result.

Used by: ops.py, nn/. Fast paths: fast_numpy/weight_standardization.py, fast_cupy/weight_standardization.py. Kernel:
weight_standardization.cu. Test: reference_tests/functional/test_operations_against_torch.py.
"""

from typing import NamedTuple

from ..backend import formula, namespace
from ..backend.arrays import Array
from ..errors import InputError
from .checks import real_number, shown
from .safe_range import multiplier, range_of


class _Centred(NamedTuple):
    """A weight's units with mean 0, and what they are multiplied by; each unit on the last axis.

    values: (W - mu)·by; scale: 1/sqrt(max(N·sigma², eps))/by; above_floor: 1.0 where N·sigma² > eps, else 0.0; by: a
    power of two, 1 unless squares leave the dtype's range.
    """

    values: Array
    scale: Array
    above_floor: Array
    by: Array | float


def _centred(weight: Array, eps: float) -> _Centred:
    xp, axes = namespace(weight), tuple(range(weight.ndim - 1))
    centred, squared_norm = _moments(weight, axes)
    if _squares_are_safe(squared_norm, eps) or 0 in weight.shape:
        scale = 1.0 / xp.sqrt(xp.clip(squared_norm, eps, None))
        return _Centred(centred, scale, xp.astype(squared_norm > eps, weight.dtype), 1.0)
    by = multiplier(xp.max(xp.abs(weight), axis=axes, keepdims=True))
    centred, squared_norm = _moments(weight * by, axes)
    norm, floor = xp.sqrt(squared_norm), eps**0.5 * by
    return _Centred(centred, 1.0 / xp.maximum(norm, floor), xp.astype(norm > floor, weight.dtype), by)


def _moments(weight: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """W - mu, and its squared norm N·sigma², with the biased variance sigma²."""
    xp = namespace(weight)
    centred = weight - xp.mean(weight, axis=axes, keepdims=True)
    return centred, xp.sum(centred * centred, axis=axes, keepdims=True)


def _squares_are_safe(squared_norm: Array, eps: float) -> bool:
    """Whether no square overflowed, and none vanished above the floor."""
    xp, within = namespace(squared_norm), range_of(squared_norm)
    if 0 in squared_norm.shape:
        return True
    is_finite = bool(xp.max(squared_norm) <= within.largest)  # False for NaN too
    return is_finite and (eps >= within.least**2 or bool(xp.min(squared_norm) >= within.least**2))


def _check_standardize_weight(weight: Array, gain: Array, *, eps: float = 1e-4) -> None:
    if real_number(eps, "eps") < 0.0:
        raise InputError(f"eps: expected a number ≥ 0, got {shown(eps)}")
    if weight.ndim < 2 or tuple(gain.shape) != tuple(weight.shape[-1:]):
        raise InputError(f"standardize_weight: expected weight (…, out) and gain (out,), got {tuple(weight.shape)} and "
                         f"{tuple(gain.shape)}")


@formula(check=_check_standardize_weight)
def standardize_weight(weight: Array, gain: Array, *, eps: float = 1e-4) -> Array:
    """What = gain·(W - mu)/sqrt(max(N·sigma², eps)), mean and biased variance over the fan-in N of each output unit.

    weight (kh, kw, in/groups, out) or (in, out) or any (…, out); gain (out,); the result has the weight's shape.
    """
    centred = _centred(weight, eps)
    return centred.values * (centred.scale * gain)


@formula
def standardize_weight_vjp(cotangent: Array, weight: Array, gain: Array, *,
                           eps: float = 1e-4) -> tuple[Array, Array]:
    """(cotangent of weight, cotangent of gain).

    With u = (W - mu)/sqrt(N·sigma²), of norm 1: dL/dW = gain/sqrt(N·sigma²) · (G - mean(G) - u·⟨u, G⟩); under the floor
    the scale is a constant and the last term is absent.
    """
    xp, axes = namespace(weight), tuple(range(weight.ndim - 1))
    centred = _centred(weight, eps)
    unit = centred.values * centred.scale
    along = xp.sum(unit * cotangent, axis=axes, keepdims=True)
    tangential = cotangent - xp.mean(cotangent, axis=axes, keepdims=True) - unit * (along * centred.above_floor)
    return tangential * (centred.scale * gain * centred.by), xp.reshape(along, tuple(gain.shape))
