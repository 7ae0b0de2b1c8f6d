"""Scaled weight standardization: every output unit's weights get mean 0 and the norm of its gain.

Source: Brock, De, Smith (2021a), arXiv 2101.08692, eq. 3; Brock et al. (2021b), arXiv 2102.06171, section 2. The
floor on the variance is that of the authors' released code: max(N·sigma², eps), not a sum.

Used by: ops.py, nn/. Fast paths: fast_numpy/weight_standardization.py, fast_cupy/weight_standardization.py. Kernel:
weight_standardization.cu. Test: reference_tests/functional/test_operations_against_torch.py.
"""

from ..backend import formula, namespace
from ..backend.arrays import Array
from ..errors import InputError
from .checks import real_number


def _centred_and_scale(weight: Array, eps: float) -> tuple[Array, Array, Array]:
    """W - mu, 1/sqrt(max(N·sigma², eps)) and whether N·sigma² was above the floor, each unit on the last axis."""
    xp, axes = namespace(weight), tuple(range(weight.ndim - 1))
    centred = weight - xp.mean(weight, axis=axes, keepdims=True)
    squared_norm = xp.sum(centred * centred, axis=axes, keepdims=True)  # = N·sigma², with the biased variance
    floored = xp.clip(squared_norm, eps, None)
    return centred, 1.0 / xp.sqrt(floored), xp.astype(squared_norm > eps, weight.dtype)


def _check_standardize_weight(weight: Array, gain: Array, *, eps: float = 1e-4) -> None:
    if real_number(eps, "eps") < 0.0:
        raise InputError(f"eps: expected a number ≥ 0, got {eps!r}")
    if weight.ndim < 2 or tuple(gain.shape) != tuple(weight.shape[-1:]):
        raise InputError(f"standardize_weight: expected weight (…, out) and gain (out,), got {tuple(weight.shape)} and "
                         f"{tuple(gain.shape)}")


@formula(check=_check_standardize_weight)
def standardize_weight(weight: Array, gain: Array, *, eps: float = 1e-4) -> Array:
    """What = gain·(W - mu)/sqrt(max(N·sigma², eps)), mean and biased variance over the fan-in N of each output unit.

    weight (kh, kw, in/groups, out) or (in, out) or any (…, out); gain (out,); the result has the weight's shape.
    """
    centred, scale, _ = _centred_and_scale(weight, eps)
    return centred * (scale * gain)


@formula
def standardize_weight_vjp(cotangent: Array, weight: Array, gain: Array, *,
                           eps: float = 1e-4) -> tuple[Array, Array]:
    """(cotangent of weight, cotangent of gain).

    With u = (W - mu)/sqrt(N·sigma²), of norm 1: dL/dW = gain/sqrt(N·sigma²) · (G - mean(G) - u·⟨u, G⟩); under the floor
    the scale is a constant and the last term is absent.
    """
    xp, axes = namespace(weight), tuple(range(weight.ndim - 1))
    centred, scale, above_floor = _centred_and_scale(weight, eps)
    unit = centred * scale
    along = xp.sum(unit * cotangent, axis=axes, keepdims=True)
    tangential = cotangent - xp.mean(cotangent, axis=axes, keepdims=True) - unit * (along * above_floor)
    return tangential * (scale * gain), xp.reshape(along, tuple(gain.shape))
