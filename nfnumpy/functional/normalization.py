"""Batch normalization: every channel is shifted and scaled by its moments over the batch and the image.

Source: Ioffe, Szegedy (2015), arXiv 1502.03167, algorithm 1 (the formula) and section 3 (its derivative).

Used by: ops.py, nn/normalization.py. Fast paths: none yet.
Test: reference_tests/nn/test_normalization.py.
"""

import math

from ..backend import formula, namespace
from ..backend.arrays import Array
from ..errors import InputError


@formula
def batch_moments(x: Array) -> tuple[Array, Array]:
    """(mean, biased variance) of every channel: x (…, C) -> two arrays (C,)."""
    xp, axes = namespace(x), tuple(range(x.ndim - 1))
    mean = xp.mean(x, axis=axes)
    centred = x - mean
    return mean, xp.mean(centred * centred, axis=axes)


def _check_normalize(x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, *, eps: float) -> None:
    shapes = {tuple(array.shape) for array in (gamma, beta, mean, variance)}
    if x.ndim < 2 or shapes != {tuple(x.shape[-1:])}:
        raise InputError(f"normalize: expected x (…, C) and gamma, beta, mean and variance (C,), got {tuple(x.shape)} "
                         f"and {', '.join(map(str, sorted(shapes)))}")


@formula(check=_check_normalize)
def normalize(x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, *, eps: float) -> Array:
    """gamma·(x - mean)/sqrt(variance + eps) + beta, the moments being constants: inference."""
    xp = namespace(x)
    return (x - mean) * (gamma / xp.sqrt(variance + eps)) + beta


@formula
def normalize_vjp(cotangent: Array, x: Array, gamma: Array, mean: Array, variance: Array, *,
                  eps: float) -> tuple[Array, Array, Array, None, None]:
    """The cotangents of x, gamma and beta; the moments get none."""
    xp, axes = namespace(x), tuple(range(x.ndim - 1))
    unit = (x - mean) / xp.sqrt(variance + eps)
    return (cotangent * (gamma / xp.sqrt(variance + eps)), xp.sum(cotangent * unit, axis=axes),
            xp.sum(cotangent, axis=axes), None, None)


@formula(check=_check_normalize)
def batch_norm(x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, *, eps: float) -> Array:
    """As `normalize`, the moments being those of x itself, through which the derivative goes: training."""
    return normalize(x, gamma, beta, mean, variance, eps=eps)


@formula
def batch_norm_vjp(cotangent: Array, x: Array, gamma: Array, mean: Array, variance: Array, *,
                   eps: float) -> tuple[Array, Array, Array, None, None]:
    """The cotangents of x, gamma and beta.

    With u = (x - mean)/sqrt(variance + eps), M values a channel and all sums over them:
    dL/dx = gamma/sqrt(variance + eps) · (G - ΣG/M - u·Σ(u·G)/M).
    """
    xp, axes = namespace(x), tuple(range(x.ndim - 1))
    scale = 1.0 / xp.sqrt(variance + eps)
    unit = (x - mean) * scale
    along, total = xp.sum(cotangent * unit, axis=axes), xp.sum(cotangent, axis=axes)
    count = math.prod(x.shape[:-1])
    return (gamma * scale) * (cotangent - total / count - unit * (along / count)), along, total, None, None
