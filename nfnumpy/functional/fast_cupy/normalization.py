"""Batch normalization: the moments in two launches, the result in one, the derivative in four.

The kernels take the moments of any groups of neighbouring channels of an image; to them a batch is one image of all
pixels, in groups of one channel. Sums that joint_sum adds up over devices are the formulas'.

Kernels: backend/kernels/normalization.cu, `column_sums` of bias.cu.
Test: reference_tests/kernels/test_normalization.py.
"""

import math

import numpy

from ...backend import cuda
from ...backend.arrays import Array
from .. import normalization as formulas
from ..normalization import Moments
from ..normalization_inputs import JointSum
from .image_means import ENOUGH_BLOCKS, PIXELS_TO_SCALE, layout_of_sums, map_tiles, packs_of
from .linear import sum_rows

MOST_PIXELS = 64  # by a thread, which prepares its channels once
KERNELS = cuda.KernelFile("normalization", dict.fromkeys(
    ("channel_moments", "join_moments", "normalize", "channel_sums", "join_sums", "scale_vjp", "normalize_vjp"),
    (cuda.FLOATING,)))


class Grouped:
    """An array as `images` images of pixels and channels (N, pixels, C), whose channels are cut into `groups` groups.

    `moments` and `means` are (2, N·groups) in the type that is computed in; gamma and beta are (C,) of that type.
    """

    def __init__(self, like: Array, images: int, groups: int) -> None:
        self.channels = like.shape[-1]
        self.pixels = like.size // (images * self.channels)
        self.images, self.groups = images, groups
        self.of_group = self.channels // groups
        self.dtype, self.wide = like.dtype, cuda.accumulator_type(like.dtype)
        self.packs = packs_of(self.channels, like.dtype)
        self.lanes, self.shares, self.blocks = layout_of_sums(images, self.pixels, self.packs)

    def _options(self, eps):
        return self.wide(eps), numpy.int32(self.of_group)

    def _sum(self, kernel, *arguments):
        """Sums of two kinds (N, shares, 2, C)."""
        partial = cuda.empty((self.images, self.shares, 2, self.channels), self.wide)
        arrays = [value for value in arguments if not isinstance(value, numpy.generic)]
        KERNELS.launch(kernel, (self.dtype,), self.blocks, cuda.THREADS, *arrays, partial, *arguments[len(arrays):],
                       numpy.int64(self.pixels), numpy.int64(self.channels), numpy.int32(self.lanes),
                       numpy.int32(self.shares))
        return partial

    def _join(self, kernel, *arrays):
        """Such sums over the shares and the channels of every group: (2, N·groups)."""
        groups = self.images * self.groups
        joint = cuda.empty((2, groups), self.wide)
        KERNELS.launch(kernel, (self.dtype,), cuda.ceil_div(32 * groups, cuda.THREADS), cuda.THREADS, *arrays, joint,
                       numpy.int64(groups), numpy.int64(self.pixels), numpy.int64(self.channels),
                       numpy.int32(self.shares), numpy.int32(self.of_group))
        return joint

    def _map(self, kernel, *arguments):
        """Start an element-by-element kernel; large images let a thread do more with the channels it prepares."""
        threads = ENOUGH_BLOCKS * 4 * cuda.THREADS
        each = min(MOST_PIXELS, max(PIXELS_TO_SCALE, self.images * self.pixels * self.packs // threads))
        map_tiles(KERNELS, kernel, (self.images, self.pixels, 1, self.channels), *arguments, pixels_of_thread=each)

    def moments(self, x: Array) -> Array:
        """The means and the biased variances."""
        return self._join("join_moments", self._sum("channel_moments", x))

    def normalize(self, x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, eps: float) -> Array:
        """gamma·(x - mean)/sqrt(variance + eps) + beta."""
        out = cuda.empty_like(x)
        self._map("normalize", x, gamma, beta, mean, variance, out, *self._options(eps))
        return out

    def vjp(self, cotangent: Array, x: Array, gamma: Array, mean: Array, variance: Array, eps: float, *,
            through_moments: bool) -> tuple[Array, Array, Array]:
        """The cotangents of x, gamma and beta."""
        of, options = (gamma, mean, variance), self._options(eps)
        partial = self._sum("channel_sums", cotangent, x, *of, *options)
        back = cuda.empty_like(x)
        if through_moments:
            means = self._join("join_sums", partial, gamma)
            self._map("normalize_vjp", cotangent, x, *of, means, back, numpy.int64(means.shape[1]), *options)
        else:
            self._map("scale_vjp", cotangent, *of, back, *options)
        sums = sum_rows(partial.reshape(-1, 2 * self.channels), self.wide)
        return back, sums[:self.channels], sums[self.channels:]


def covers(*arrays: Array, of_channels: tuple[Array, ...]) -> bool:
    """Whether the kernels take these arrays (…, C) and those (C,)."""
    x, (channels,) = arrays[0], arrays[0].shape[-1:]
    wide = cuda.accumulator_type(x.dtype)
    return (x.size > 0 and cuda.supports(*arrays) and all(array.shape == x.shape for array in arrays)
            and all(array.shape == (channels,) and array.dtype == wide for array in of_channels))


@formulas.batch_moments.fast_path("cupy")
def batch_moments(x: Array, *, joint_sum: JointSum | None = None) -> Moments:
    """Reads x once."""
    if joint_sum is not None or not covers(x, of_channels=()):
        return NotImplemented
    (x,) = cuda.contiguous(x)
    mean, variance = Grouped(x, 1, x.shape[-1]).moments(x)
    return Moments(mean, variance, math.prod(x.shape[:-1]))


@formulas.normalize.fast_path("cupy")
def normalize(x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, *, eps: float) -> Array:
    """One launch."""
    if not covers(x, of_channels=(gamma, beta, mean, variance)):
        return NotImplemented
    x, gamma, beta, mean, variance = cuda.contiguous(x, gamma, beta, mean, variance)
    return Grouped(x, 1, x.shape[-1]).normalize(x, gamma, beta, mean, variance, eps)


def _vjp(cotangent, x, gamma, mean, variance, eps, through_moments):
    if not covers(x, cotangent, of_channels=(gamma, mean, variance)):
        return NotImplemented
    arrays = cuda.contiguous(cotangent, x, gamma, mean, variance)
    back = Grouped(x, 1, x.shape[-1]).vjp(*arrays, eps, through_moments=through_moments)
    return *back, None, None


@formulas.normalize_vjp.fast_path("cupy")
def normalize_vjp(cotangent: Array, x: Array, gamma: Array, mean: Array, variance: Array, *,
                  eps: float) -> tuple[Array, Array, Array, None, None]:
    """Three launches, of which the elementwise one does not read x."""
    return _vjp(cotangent, x, gamma, mean, variance, eps, False)


@formulas.batch_norm_vjp.fast_path("cupy")
def batch_norm_vjp(cotangent: Array, x: Array, gamma: Array, mean: Array | None, variance: Array | None, *, eps: float,
                   joint_sum: JointSum | None = None) -> tuple[Array, Array, Array, None, None]:
    """Four launches, six where the moments are not given."""
    if joint_sum is not None:
        return NotImplemented
    if mean is None or variance is None:
        mean, variance, _ = formulas.batch_moments(x)
    return _vjp(cotangent, x, gamma, mean, variance, eps, True)
