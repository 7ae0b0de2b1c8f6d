"""Plain weight standardization: every output unit's weights get mean 0 and variance 1.

Unlike the scaled form in weight_standardization.py it has no gain and does not divide by the fan-in: a normalization
follows the convolution.

Source: Qiao et al. (2019), arXiv 1903.10520, eq. 4-7. eps is added to the deviation, or to the variance: two forms in
use.

Used by: ops.py, nn/. Fast paths: none yet.
Test: reference_tests/functional/test_operations_against_torch.py, test_normalization.py.
"""

from ..backend import formula, namespace
from ..backend.arrays import Array
from ..errors import InputError
from .checks import shown
from .normalization_inputs import check_eps

EPS = 1e-5


def _check_plain_standardize_weight(weight: Array, *, eps: float = EPS, eps_beside: str = "deviation") -> None:
    check_eps(eps)
    if weight.ndim < 2 or 0 in weight.shape or getattr(weight.dtype, "kind", "f") in "biu":
        raise InputError(f"plain_standardize_weight: expected weight (…, out) of floating numbers, got "
                         f"{tuple(weight.shape)} of {weight.dtype}")
    if not isinstance(eps_beside, str) or eps_beside not in ("deviation", "variance"):
        raise InputError(f"eps_beside: expected deviation or variance, got {shown(eps_beside)}")


def divisors(variance: Array, eps: float, eps_beside: str) -> tuple[Array, Array]:
    """The divisor of each unit, and the root that it has in it: sigma + eps and sigma, or sqrt(sigma² + eps) twice."""
    xp = namespace(variance)
    if eps_beside == "variance":
        root = xp.sqrt(variance + eps)
        return root, root
    sigma = xp.sqrt(variance)
    return sigma + eps, xp.where(sigma > 0.0, sigma, xp.ones_like(sigma))  # equal weights: their derivative has no term


def _centred(weight: Array) -> tuple[Array, Array]:
    """W - mu and its biased variance, over the fan-in."""
    xp, axes = namespace(weight), tuple(range(weight.ndim - 1))
    centred = weight - xp.mean(weight, axis=axes, keepdims=True)
    return centred, xp.mean(centred * centred, axis=axes, keepdims=True)


@formula(check=_check_plain_standardize_weight)
def plain_standardize_weight(weight: Array, *, eps: float = EPS, eps_beside: str = "deviation") -> Array:
    """(W - mu)/(sigma + eps), or (W - mu)/sqrt(sigma² + eps) for eps_beside="variance"; biased, over the fan-in.

    weight (kh, kw, in/groups, out) or any (…, out).
    """
    centred, variance = _centred(weight)
    divisor, _ = divisors(variance, eps, eps_beside)
    return centred / divisor


@formula
def plain_standardize_weight_vjp(cotangent: Array, weight: Array, *, eps: float = EPS,
                                 eps_beside: str = "deviation") -> Array:
    """With d the divisor, r the root in it, c = W - mu and means over the fan-in:
    dL/dW = (G - mean(G) - c·mean(c·G)/(r·d))/d.
    """
    xp, axes = namespace(weight), tuple(range(weight.ndim - 1))
    centred, variance = _centred(weight)
    divisor, root = divisors(variance, eps, eps_beside)
    along = xp.mean(centred * cotangent, axis=axes, keepdims=True) / (root * divisor)
    return (cotangent - xp.mean(cotangent, axis=axes, keepdims=True) - centred * along) / divisor
