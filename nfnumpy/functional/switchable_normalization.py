"""Switchable normalization: its moments are learned mixtures of those of the instance, the layer and the batch.

Source: Luo et al. (2019), arXiv 1806.10779, eq. 3-5. The paper's variance of an instance is biased; its authors'
released code divides by P - 1 instead of the P pixels of an image, which reaches the layer's and the batch's variance
too: the option `unbiased`.

Used by: ops.py, nn/switchable_norm.py. Fast paths: none.
Test: reference_tests/functional/test_operations_against_torch.py, test_normalization.py.
"""

import math
from typing import Any, NamedTuple

from ..backend import formula, namespace
from ..backend.arrays import Array, FullPrecisionArray
from ..errors import InputError
from .checks import flag
from .normalization import Moments
from .normalization_inputs import (
    JointSum,
    check_channels,
    check_eps,
    check_image,
    check_joint_sum,
    check_pixels,
    check_values,
    full_precision,
    over_devices,
    rounded,
)

EPS = 1e-5


class _Pair(NamedTuple):
    """A mean and a variance that broadcast to (N, 1, C)."""

    mean: Array
    variance: Array


def _pixels(x: Array) -> Array:
    """(N, …, C) as (N, P, C), in float32 at least."""
    return namespace(x).reshape(full_precision(x), (x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1]))


def _freedom(pixels: int, unbiased: bool) -> int:
    """What the squares of an instance are divided by; one pixel has a variance of 0 in both forms."""
    return max(1, pixels - 1) if unbiased else pixels


def _instance(x: Array, unbiased: bool) -> _Pair:
    """(N, 1, C) from x (N, P, C)."""
    xp, mean = namespace(x), namespace(x).mean(x, axis=1, keepdims=True)
    centred = x - mean
    return _Pair(mean, xp.sum(centred * centred, axis=1, keepdims=True) / _freedom(x.shape[1], unbiased))


def _layer(instance: _Pair) -> _Pair:
    """(N, 1, 1): over the channels, mean(sigma² + (mu - mean)²) is the variance, eq. 4 without its cancellation."""
    xp, mean = namespace(instance.mean), namespace(instance.mean).mean(instance.mean, axis=2, keepdims=True)
    return _Pair(mean, xp.mean(instance.variance + (instance.mean - mean) ** 2, axis=2, keepdims=True))


def _batch(instance: _Pair, joint_sum: JointSum | None) -> tuple[_Pair, Array]:
    """(1, 1, C), likewise over the images of all devices, and the number of these images."""
    xp, own = namespace(instance.mean), _over_images(instance.mean)
    joint = over_devices(xp.stack([own, xp.full_like(own, instance.mean.shape[0])]), joint_sum)
    mean, images = joint[0, ...] / joint[1, ...], joint[1, ...]
    spread = _over_images(instance.variance + (instance.mean - mean) ** 2)
    return _Pair(mean, over_devices(spread, joint_sum) / images), images


def _over_images(x: Array) -> Array:
    """Over the images: (1, 1, C)."""
    return namespace(x).sum(x, axis=0, keepdims=True)


class SwitchableMoments(NamedTuple):
    """The moments of the batch, and mean and variance of every instance (N, C)."""

    batch: Moments
    instance_mean: Array
    instance_variance: Array


def _check_switchable_moments(x: Array, *, unbiased: bool = False, joint_sum: JointSum | None = None) -> None:
    flag(unbiased, "unbiased")
    check_joint_sum(joint_sum)
    check_image(x, "switchable_moments")
    check_values(x, "switchable_moments")


@formula(check=_check_switchable_moments)
def switchable_moments(x: Array, *, unbiased: bool = False, joint_sum: JointSum | None = None) -> SwitchableMoments:
    """The moments of x (N, …, C) that `switchable_norm` mixes; running statistics take in those of the batch."""
    instance = _instance(_pixels(x), unbiased)
    pair, images = _batch(instance, joint_sum)
    values = images[0, 0, 0] * math.prod(x.shape[1:-1])
    return SwitchableMoments(Moments(pair.mean[0, 0, :], pair.variance[0, 0, :], values), instance.mean[:, 0, :],
                             instance.variance[:, 0, :])


class _Mixture(NamedTuple):
    """The three pairs of moments, the softmaxes of their weights, and what they are mixed to."""

    parts: list[_Pair]  # instance, layer, batch
    through_batch: bool  # whether the batch's moments are those of x; otherwise they are constants
    mean_shares: Array  # (3,)
    variance_shares: Array
    mixed: _Pair


def _softmax(weights: Array) -> Array:
    xp = namespace(weights)
    exponentials = xp.exp(weights - xp.max(weights))
    return exponentials / xp.sum(exponentials)


def _mix(x: Array, mean_weights: Array, variance_weights: Array, of_batch: tuple[Array | None, Array | None],
         of_instances: tuple[Array | None, Array | None], unbiased: bool, joint_sum: JointSum | None) -> _Mixture:
    """of_batch, of_instances: mean and variance where they are given."""
    instance = _given(of_instances, (slice(None), None)) or _instance(x, unbiased)
    batch = _given(of_batch, (None, None)) or _batch(instance, joint_sum)[0]
    parts = [instance, _layer(instance), batch]
    through_batch = of_batch[0] is None or of_instances[0] is not None
    shares = _softmax(mean_weights), _softmax(variance_weights)
    mean = sum((shares[0][k, ...] * parts[k].mean for k in (1, 2)), start=shares[0][0, ...] * instance.mean)
    variance = sum((shares[1][k, ...] * parts[k].variance for k in (1, 2)),
                   start=shares[1][0, ...] * instance.variance)
    return _Mixture(parts, through_batch, *shares, _Pair(mean, variance))


def _given(pair: tuple[Array | None, Array | None], axes: tuple[Any, ...]) -> _Pair | None:
    """Mean and variance with these axes before that of channels; None where they are not given."""
    mean, variance = pair
    return None if mean is None or variance is None else _Pair(mean[(*axes, slice(None))],
                                                               variance[(*axes, slice(None))])


def _check_switchable_norm(x: Array, gamma: Array, beta: Array, mean_weights: Array, variance_weights: Array,
                           batch_mean: Array | None = None, batch_variance: Array | None = None,
                           instance_mean: Array | None = None, instance_variance: Array | None = None, *,
                           eps: float = EPS, unbiased: bool = False, joint_sum: JointSum | None = None) -> None:
    check_eps(eps)
    flag(unbiased, "unbiased")
    check_joint_sum(joint_sum)
    check_image(x, "switchable_norm")
    check_channels(x, "switchable_norm", gamma=gamma, beta=beta, batch_mean=batch_mean, batch_variance=batch_variance)
    (check_values if batch_mean is None else check_pixels)(x, "switchable_norm")
    if (batch_mean is None) != (batch_variance is None):
        raise InputError("switchable_norm: expected batch_mean and batch_variance, or neither")
    instances = [None if array is None else tuple(array.shape) for array in (instance_mean, instance_variance)]
    if instances != [None, None] and (batch_mean is None or instances != [(x.shape[0], x.shape[-1])] * 2):
        raise InputError(f"switchable_norm: expected instance_mean and instance_variance ({x.shape[0]}, {x.shape[-1]}) "
                         f"beside the batch's moments for x {tuple(x.shape)}, or neither, got {instances}")
    if tuple(mean_weights.shape) != (3,) or tuple(variance_weights.shape) != (3,):
        raise InputError(f"switchable_norm: expected mean_weights and variance_weights (3,), for instance, layer and "
                         f"batch, got {tuple(mean_weights.shape)} and {tuple(variance_weights.shape)}")


@formula(check=_check_switchable_norm)
def switchable_norm(x: Array, gamma: FullPrecisionArray, beta: FullPrecisionArray, mean_weights: FullPrecisionArray,
                    variance_weights: FullPrecisionArray, batch_mean: FullPrecisionArray | None = None,
                    batch_variance: FullPrecisionArray | None = None, instance_mean: FullPrecisionArray | None = None,
                    instance_variance: FullPrecisionArray | None = None, *, eps: float = EPS, unbiased: bool = False,
                    joint_sum: JointSum | None = None) -> Array:
    """gamma·(x - Σ w·mean)/sqrt(Σ w'·variance + eps) + beta, sums over instance, layer and batch. x (N, …, C).

    w, w': the softmax of mean_weights (3,) and of variance_weights (3,). batch_mean, batch_variance (C,): constants at
    inference; None: those of x, through which the derivative goes. With instance_mean and instance_variance (N, C)
    beside them all four are what `switchable_moments` returns for x, and it goes through them too.
    unbiased: the variance of the authors' code. joint_sum: as `batch_moments` takes it.
    """
    pixels = _pixels(x)
    mean, variance = _mix(pixels, mean_weights, variance_weights, (batch_mean, batch_variance),
                          (instance_mean, instance_variance), unbiased, joint_sum).mixed
    out = (pixels - mean) / namespace(x).sqrt(variance + eps) * gamma + beta
    return rounded(namespace(x).reshape(out, tuple(x.shape)), x)


@formula
def switchable_norm_vjp(cotangent: Array, x: Array, gamma: Array, mean_weights: Array, variance_weights: Array,
                        batch_mean: Array | None, batch_variance: Array | None, instance_mean: Array | None,
                        instance_variance: Array | None, *, eps: float = EPS, unbiased: bool = False,
                        joint_sum: JointSum | None = None) -> tuple[Array | None, ...]:
    """The cotangents of x, gamma, beta and both weights; given moments get none.

    With s = 1/sqrt(variance + eps), u the normalized values and sums over an image's pixels, the mixed mean gets
    -s·Σ(gamma·G) and the mixed variance -s²/2·Σ(gamma·G·u); shares of both go to the moments of each kind, from there
    to those of the instances, and from these to x.
    """
    xp, pixels = namespace(x), _pixels(x)
    mixture = _mix(pixels, mean_weights, variance_weights, (batch_mean, batch_variance),
                   (instance_mean, instance_variance), unbiased, joint_sum)
    scale = 1.0 / xp.sqrt(mixture.mixed.variance + eps)
    unit, cotangent = (pixels - mixture.mixed.mean) * scale, _pixels(cotangent)
    back = cotangent * gamma
    back_mixed = _Pair(-scale * xp.sum(back, axis=1, keepdims=True),
                       -0.5 * scale**2 * xp.sum(back * unit, axis=1, keepdims=True))
    back_instance = _back_to_instances(back_mixed, mixture, joint_sum)
    count, freedom = pixels.shape[1], _freedom(pixels.shape[1], unbiased)
    back_x = back * scale + back_instance.mean / count \
        + (pixels - mixture.parts[0].mean) * (back_instance.variance * (2.0 / freedom))
    means, variances = ([part[kind] for part in mixture.parts] for kind in (0, 1))
    return (rounded(xp.reshape(back_x, tuple(x.shape)), x), xp.sum(cotangent * unit, axis=(0, 1)),
            xp.sum(cotangent, axis=(0, 1)), _back_to_weights(back_mixed.mean, means, mixture.mean_shares),
            _back_to_weights(back_mixed.variance, variances, mixture.variance_shares), None, None, None, None)


def _back_to_instances(back: _Pair, mixture: _Mixture, joint_sum: JointSum | None) -> _Pair:
    """The cotangents of the instances' moments (N, 1, C), from those of the mixed ones.

    For b = mean(a) and V = mean(v + (a - b)²) over n instances, a gets (dL/db + 2·(a - b)·dL/dV)/n and v gets dL/dV/n.
    """
    xp, (instance, layer, batch) = namespace(back.mean), mixture.parts
    means = [mixture.mean_shares[k, ...] * back.mean for k in range(3)]
    variances = [mixture.variance_shares[k, ...] * back.variance for k in range(3)]
    to_mean, to_variance = (xp.mean(values, axis=2, keepdims=True) for values in (means[1], variances[1]))
    mean = means[0] + to_mean + 2.0 * (instance.mean - layer.mean) * to_variance
    variance = variances[0] + to_variance
    if not mixture.through_batch:
        return _Pair(mean, variance)
    own = _over_images(means[2])
    sums = over_devices(xp.stack([own, _over_images(variances[2]), xp.full_like(own, mean.shape[0])]), joint_sum)
    to_mean, to_variance = sums[0, ...] / sums[2, ...], sums[1, ...] / sums[2, ...]
    return _Pair(mean + to_mean + 2.0 * (instance.mean - batch.mean) * to_variance, variance + to_variance)


def _back_to_weights(back: Array, values: list[Array], shares: Array) -> Array:
    """The cotangent of three numbers whose softmax is `shares`, from that of Σ shares·values."""
    xp = namespace(back)
    along = xp.stack([xp.sum(back * value) for value in values])
    return shares * (along - xp.sum(shares * along))
