"""Batch normalization: every channel is shifted and scaled by its moments over the batch and the image.

Source: Ioffe, Szegedy (2015), arXiv 1502.03167, algorithm 1 (the formula) and section 3 (its derivative).

Used by: ops.py, nn/batch_norm.py. Fast paths: fast_numpy/normalization.py, fast_cupy/normalization.py. Kernel:
normalization.cu.
Test: reference_tests/functional/test_normalization.py, test_operations_against_torch.py.
"""

import math
from typing import NamedTuple

from ..backend import formula, namespace
from ..backend.arrays import Array, FullPrecisionArray
from ..errors import InputError
from .activations import ALONG_THE_LAST_AXIS, NONLINEARITIES, scaled_nonlinearity, scaled_nonlinearity_vjp
from .checks import shown
from .normalization_inputs import (
    JointSum,
    check_channels,
    check_eps,
    check_image,
    check_joint_sum,
    check_values,
    full_precision,
    over_devices,
    rounded,
)


class Moments(NamedTuple):
    """mean and biased variance (C,) of so many `values` a channel, an array () where they were summed up."""

    mean: Array
    variance: Array
    values: Array | int


def _check_batch_moments(x: Array, *, joint_sum: JointSum | None = None) -> None:
    check_image(x, "batch_moments")
    check_values(x, "batch_moments")
    check_joint_sum(joint_sum)


@formula(check=_check_batch_moments)
def batch_moments(x: Array, *, joint_sum: JointSum | None = None) -> Moments:
    """Mean and biased variance of every channel of x (…, C), in float32 at least.

    joint_sum: for the moments of the joint batch of several devices; it is called twice, as the variance is a sum of
    squared distances from the joint mean: ΣX² - M·mean² would lose the digits that both have in common.
    """
    xp, axes = namespace(x), tuple(range(x.ndim - 1))
    x, count = full_precision(x), math.prod(x.shape[:-1])
    if joint_sum is None:
        mean = xp.mean(x, axis=axes)
        centred = x - mean
        return Moments(mean, xp.mean(centred * centred, axis=axes), count)
    total = xp.sum(x, axis=axes)
    joint = over_devices(xp.stack([total, xp.full_like(total, count)]), joint_sum)
    mean, counts = joint[0, ...] / joint[1, ...], joint[1, ...]
    centred = x - mean
    return Moments(mean, over_devices(xp.sum(centred * centred, axis=axes), joint_sum) / counts, counts[0])


def _check_normalize(x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, *, eps: float) -> None:
    check_eps(eps)
    check_image(x, "normalize")
    check_channels(x, "normalize", gamma=gamma, beta=beta, mean=mean, variance=variance)


@formula(check=_check_normalize)
def normalize(x: Array, gamma: FullPrecisionArray, beta: FullPrecisionArray, mean: FullPrecisionArray,
              variance: FullPrecisionArray, *, eps: float) -> Array:
    """gamma·(x - mean)/sqrt(variance + eps) + beta, the moments being constants: inference. x (…, C), the others (C,).
    """
    factor = gamma / namespace(x).sqrt(variance + eps)
    return rounded((full_precision(x) - mean) * factor + beta, x)


@formula
def normalize_vjp(cotangent: Array, x: Array, gamma: Array, mean: Array, variance: Array, *,
                  eps: float) -> tuple[Array, Array, Array, None, None]:
    """The cotangents of x, gamma and beta; the moments get none."""
    xp, axes = namespace(x), tuple(range(x.ndim - 1))
    scale, back = 1.0 / xp.sqrt(variance + eps), full_precision(cotangent)
    unit = (full_precision(x) - mean) * scale
    return rounded(back * (gamma * scale), x), xp.sum(back * unit, axis=axes), xp.sum(back, axis=axes), None, None


def _check_batch_norm(x: Array, gamma: Array, beta: Array, mean: Array | None = None, variance: Array | None = None, *,
                      eps: float, joint_sum: JointSum | None = None) -> None:
    check_eps(eps)
    check_image(x, "batch_norm")
    check_channels(x, "batch_norm", gamma=gamma, beta=beta, mean=mean, variance=variance)
    _check_batch_moments(x, joint_sum=joint_sum)
    if (mean is None) != (variance is None):
        raise InputError("batch_norm: expected mean and variance of x, or neither")


@formula(check=_check_batch_norm)
def batch_norm(x: Array, gamma: FullPrecisionArray, beta: FullPrecisionArray, mean: FullPrecisionArray | None = None,
               variance: FullPrecisionArray | None = None, *, eps: float, joint_sum: JointSum | None = None) -> Array:
    """gamma·(x - mean)/sqrt(variance + eps) + beta with the moments of x itself: training. x (…, C), the others (C,).

    mean, variance: what `batch_moments` returns for x, or None: computed here. The derivative goes through them.
    joint_sum: as `batch_moments` takes it.
    """
    if mean is None or variance is None:
        mean, variance, _ = batch_moments(x, joint_sum=joint_sum)
    return normalize(x, gamma, beta, mean, variance, eps=eps)


@formula
def batch_norm_vjp(cotangent: Array, x: Array, gamma: Array, mean: Array | None, variance: Array | None, *, eps: float,
                   joint_sum: JointSum | None = None) -> tuple[Array, Array, Array, None, None]:
    """The cotangents of x, gamma and beta.

    With u = (x - mean)/sqrt(variance + eps), M values a channel and all sums over them:
    dL/dx = gamma/sqrt(variance + eps) · (G - ΣG/M - u·Σ(u·G)/M).
    With joint_sum the sums in dL/dx and M are those of the joint batch; gamma and beta get those of this device, which
    add up over devices as the gradients of all other parameters do.
    """
    if mean is None or variance is None:
        mean, variance, _ = batch_moments(x, joint_sum=joint_sum)
    xp, axes = namespace(x), tuple(range(x.ndim - 1))
    scale, back = 1.0 / xp.sqrt(variance + eps), full_precision(cotangent)
    unit = (full_precision(x) - mean) * scale
    own = xp.stack([xp.sum(back * unit, axis=axes), xp.sum(back, axis=axes),
                    xp.full_like(scale, math.prod(x.shape[:-1]))])
    joint = over_devices(own, joint_sum)
    along, mean_back = joint[0, ...] / joint[2, ...], joint[1, ...] / joint[2, ...]
    back_x = (gamma * scale) * (back - mean_back - unit * along)
    return rounded(back_x, x), own[0, ...], own[1, ...], None, None


def _check_activated_batch_norm(x: Array, gamma: Array, beta: Array, mean: Array | None = None,
                                variance: Array | None = None, *, name: str, eps: float,
                                joint_sum: JointSum | None = None) -> None:
    _check_batch_norm(x, gamma, beta, mean, variance, eps=eps, joint_sum=joint_sum)
    if not isinstance(name, str) or name not in NONLINEARITIES or name in ALONG_THE_LAST_AXIS:
        raise InputError(f"activated_batch_norm: nonlinearity {shown(name)}: expected one of "
                         f"{', '.join(sorted(NONLINEARITIES.keys() - ALONG_THE_LAST_AXIS))}")


@formula(check=_check_activated_batch_norm)
def activated_batch_norm(x: Array, gamma: FullPrecisionArray, beta: FullPrecisionArray,
                         mean: FullPrecisionArray | None = None, variance: FullPrecisionArray | None = None, *,
                         name: str, eps: float, joint_sum: JointSum | None = None) -> Array:
    """g(batch_norm(x)), g being the nonlinearity `name`.

    Of both steps x alone is kept for the derivative: what is between them is computed again.
    """
    between = batch_norm(x, gamma, beta, mean, variance, eps=eps, joint_sum=joint_sum)
    return scaled_nonlinearity(between, name=name, scale=1.0)


@formula
def activated_batch_norm_vjp(cotangent: Array, x: Array, gamma: Array, beta: Array, mean: Array | None,
                             variance: Array | None, *, name: str, eps: float,
                             joint_sum: JointSum | None = None) -> tuple[Array, Array, Array, None, None]:
    """The cotangents of x, gamma and beta, as `batch_norm_vjp` has them."""
    if mean is None or variance is None:
        mean, variance, _ = batch_moments(x, joint_sum=joint_sum)
    between = normalize(x, gamma, beta, mean, variance, eps=eps)
    back = scaled_nonlinearity_vjp(cotangent, between, name=name, scale=1.0)
    return batch_norm_vjp(back, x, gamma, mean, variance, eps=eps, joint_sum=joint_sum)
