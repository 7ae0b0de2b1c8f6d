"""`convolution.conv2d` and its derivatives on our threads: the formula itself, on a share of the batch each."""

import math

import numpy

from ...backend import fast_path, threads
from .. import convolution

WORTH_A_THREAD = 1 << 24  # multiply-adds: a fraction of a millisecond, several times what handing over costs


def _shares(x_shape, weight_shape, geometry):
    """The batch cut into shares, or left whole when a share would not be worth a thread."""
    windows = convolution.conv2d_windows(x_shape, weight_shape, **geometry)
    work = x_shape[0] * math.prod(windows.out) * math.prod(weight_shape)
    return threads.shares(x_shape[0]) if work >= WORTH_A_THREAD else [slice(0, x_shape[0])]


@fast_path("numpy", "convolution.conv2d")
def conv2d(x, weight, bias=None, **geometry):
    """Every thread convolves its images."""
    return _joined(lambda share: convolution.conv2d.formula(x[share], weight, bias, **geometry),
                   _shares(x.shape, weight.shape, geometry))


@fast_path("numpy", "convolution.conv2d_x_vjp")
def conv2d_x_vjp(cotangent, weight, x_shape, **geometry):
    """Every thread goes back through its images."""
    return _joined(lambda share: convolution.conv2d_x_vjp.formula(
        cotangent[share], weight, (share.stop - share.start, *x_shape[1:]), **geometry),
        _shares(x_shape, weight.shape, geometry))


@fast_path("numpy", "convolution.conv2d_weight_vjp")
def conv2d_weight_vjp(cotangent, x, weight_shape, **geometry):
    """Every thread's images give a sum; the sums are added in the order of the shares."""
    total, *others = threads.in_parallel(
        lambda share: convolution.conv2d_weight_vjp.formula(cotangent[share], x[share], weight_shape, **geometry),
        _shares(x.shape, weight_shape, geometry))
    for other in others:
        total += other
    return total


def _joined(function, shares):
    """The results of `function` on every share, one after the other in one array."""
    parts = threads.in_parallel(function, shares)
    return parts[0] if len(parts) == 1 else numpy.concatenate(parts)
