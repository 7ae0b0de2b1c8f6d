"""The fast paths of `functional.normalization` and of `functional.group_normalization`, block by block on threads.

Batch normalization reads x once for its moments, and once for the result; its derivative reads x and the cotangent
twice. The moments of blocks are joined by the formula of Chan, Golub, LeVeque (1979). Within a block, and wherever the
mean is subtracted, Σ(x - mean)² = ΣX² - M·mean² and (x - mean)·f = x·f - mean·f save a pass, but lose the digits that
both terms have in common: channels whose mean is several deviations from 0 are computed as the formula has it.
Short rows of channels are taken several at a time.

Formulas: functional/normalization.py, group_normalization.py. Test: fast_numpy/test_normalization.py.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy

from ...backend import blocking, buffer_pool, thread_pool, tuning
from .. import group_normalization as group_formulas, normalization as formulas
from ..normalization_inputs import JointSum, over_devices
from .dtypes import share_float_dtype

# How many deviations from 0 a mean may be. ΣX² - M·mean² loses up to four bits then, x·f - mean·f up to three.
FAR_FOR_SQUARES, FAR = 4.0, 8.0
MOST_PICKED = 1 / 8  # of the channels of a block; picking values out costs as much as several passes over them


def _together(x):
    """How many rows of channels are taken as one."""
    rows, channels = math.prod(x.shape[:-1]), x.shape[-1]
    if channels >= tuning.LONG_ROW_VALUES:
        return 1
    return math.gcd(rows, 1 << (tuning.LONG_ROW_VALUES // max(channels, 1)).bit_length())


def _rows(x, together):
    """(…, C) as (rows, together·C)."""
    return x.reshape(-1, together * x.shape[-1])


def _blocks(rows):
    """Slices of rows: one list for each thread, of blocks that stay in the cache."""
    step = blocking.rows_in_block(rows.shape[1])
    return [blocking.split_by_step(share, step) for share in blocking.split_by_work(len(rows), rows.size)]


def _are_far(mean, variance, deviations=FAR):
    """Whether the means are more than so many deviations from 0; True where a square overflows."""
    with numpy.errstate(over="ignore", invalid="ignore"):
        return ~(mean * mean <= deviations**2 * variance)


def _block_moments(block):
    """(number of rows, mean, Σ(x - mean)²) of a block (rows, values)."""
    rows = len(block)
    with numpy.errstate(over="ignore", invalid="ignore"):
        squares = numpy.einsum("ij,ij->j", block, block)
        mean = numpy.matmul(numpy.full(rows, 1.0 / rows, block.dtype), block)
        squares -= rows * mean * mean
    far = _chosen(_are_far(mean, squares / rows, FAR_FOR_SQUARES))
    if far is not None:
        centred = block[:, far] - mean[far]
        error = numpy.mean(centred, axis=0)  # of a rounded mean
        squares[far] = numpy.einsum("ij,ij->j", centred, centred) - rows * error * error
        mean = mean.astype(numpy.float64)
        mean[far] += error
    return rows, mean, squares


def _chosen(is_far):
    """An index of the far channels: None without any, and all of them where they are too many to be picked out."""
    count = numpy.count_nonzero(is_far)
    if count == 0:
        return None
    return slice(None) if count > len(is_far) * MOST_PICKED else numpy.flatnonzero(is_far)


@formulas.batch_moments.fast_path("numpy")
def batch_moments(x: numpy.ndarray, *, joint_sum: JointSum | None = None) -> formulas.Moments:
    """Moments of blocks, joined in float64."""
    if joint_sum is not None or x.size <= tuning.SMALL_VALUES or not share_float_dtype(x):
        return NotImplemented
    together = _together(x)
    rows = _rows(x, together)
    parts = thread_pool.parallel_map(lambda blocks: [_block_moments(rows[block]) for block in blocks], _blocks(rows))
    counts, means, squares = (numpy.array(values, dtype=numpy.float64)
                              for values in zip(*(part for some in parts for part in some), strict=True))
    means, squares = (values.reshape(len(counts), together, -1) for values in (means, squares))
    mean = numpy.einsum("i,ijk->k", counts, means) / (len(rows) * together)
    squares = squares.sum(axis=(0, 1)) + numpy.einsum("i,ijk->k", counts, (means - mean) ** 2)
    values = len(rows) * together
    return formulas.Moments(mean.astype(x.dtype), (squares / values).astype(x.dtype), values)


class _Step(NamedTuple):
    """compute(out, *arrays, *channels) fills a block `out` from blocks of arrays and from values of each channel."""

    compute: Callable[..., object]
    channels: Sequence[numpy.ndarray]


def _fill(arrays: Sequence[numpy.ndarray], is_far: numpy.ndarray, near: _Step, exact: _Step) -> numpy.ndarray:
    """A new array like arrays[0] (…, C): channels that are far from 0 by the step `exact`, the others by `near`."""
    out, together = buffer_pool.empty(arrays[0].shape, arrays[0].dtype), _together(arrays[0])
    views = [_rows(array, together) for array in (out, *arrays)]
    far = _chosen(numpy.tile(is_far, together))
    step = exact if isinstance(far, slice) else near
    repeated = [numpy.tile(channel, together) for channel in step.channels]
    picked = [numpy.tile(channel, together)[far] for channel in exact.channels] if step is near and far is not None \
        else None

    def compute(blocks):
        for block in blocks:
            parts = [view[block] for view in views]
            step.compute(*parts, *repeated)
            if picked is not None:
                own = [part[:, far] for part in parts]
                exact.compute(*own, *picked)
                parts[0][:, far] = own[0]

    thread_pool.parallel_map(compute, _blocks(views[0]))
    return out


def _covers(x, *others):
    return x.size > tuning.SMALL_VALUES and share_float_dtype(x, *others)


@formulas.normalize.fast_path("numpy")
def normalize(x: numpy.ndarray, gamma: numpy.ndarray, beta: numpy.ndarray, mean: numpy.ndarray,
              variance: numpy.ndarray, *, eps: float) -> numpy.ndarray:
    """The formula, block by block."""
    if type(eps) not in (int, float) or not _covers(x, gamma, beta, mean, variance):
        return NotImplemented

    def near(out, x, factor, shift):
        numpy.multiply(x, factor, out=out)
        out += shift

    def exact(out, x, mean, factor, beta):
        numpy.subtract(x, mean, out=out)
        out *= factor
        out += beta

    factor = gamma / numpy.sqrt(variance + eps)
    return _fill([x], _are_far(mean, variance + eps), _Step(near, (factor, beta - mean * factor)),
                 _Step(exact, (mean, factor, beta)))


def _back_sums(cotangent, x, mean, is_far):
    """Σ(x - mean)·G and ΣG over the rows: (2, C), added in the order of the blocks."""
    together = _together(x)
    back, rows, far = _rows(cotangent, together), _rows(x, together), _chosen(numpy.tile(is_far, together))
    mean = numpy.tile(mean, together)

    def add_up(blocks):
        sums = numpy.zeros((2, rows.shape[1]), dtype=numpy.float64)
        for block in blocks:
            own = back[block]
            products = numpy.einsum("ij,ij->j", rows[block], own)  # first: it streams both blocks into the cache
            total = numpy.matmul(numpy.ones(len(own), dtype=own.dtype), own)
            along = products - mean * total
            if far is not None:
                along[far] = numpy.einsum("ij,ij->j", rows[block][:, far] - mean[far], own[:, far])
            sums[0] += along
            sums[1] += total
        return sums

    sums = blocking.reduce_blocks(add_up, _blocks(rows))
    return sums.reshape(2, together, -1).sum(axis=1).astype(x.dtype)


@formulas.batch_norm_vjp.fast_path("numpy")
def batch_norm_vjp(cotangent: numpy.ndarray, x: numpy.ndarray, gamma: numpy.ndarray, mean: numpy.ndarray | None,
                   variance: numpy.ndarray | None, *, eps: float,
                   joint_sum: JointSum | None = None) -> tuple[numpy.ndarray | None, ...]:
    """(G - (x - mean)·a - b)·gamma/sqrt(variance + eps), a and b from the sums over a channel."""
    if mean is None or variance is None or type(eps) not in (int, float) or cotangent.shape != x.shape \
            or not _covers(x, cotangent, gamma, mean, variance):
        return NotImplemented
    scale, is_far = 1.0 / numpy.sqrt(variance + eps), _are_far(mean, variance + eps)
    sums = _back_sums(cotangent, x, mean, is_far)
    own = numpy.stack([sums[0] * scale, sums[1], numpy.full_like(scale, math.prod(x.shape[:-1]))])
    joint = over_devices(own, joint_sum)
    factor, along, shift = gamma * scale, scale * (joint[0] / joint[2]), joint[1] / joint[2]

    def near(out, back, rows, along, shift, factor):
        numpy.multiply(rows, along, out=out)
        numpy.subtract(back, out, out=out)
        out -= shift
        out *= factor

    def exact(out, back, rows, mean, along, shift, factor):
        numpy.subtract(rows, mean, out=out)
        near(out, back, out, along, shift, factor)

    back_x = _fill([cotangent, x], is_far, _Step(near, (along, shift - mean * along, factor)),
                   _Step(exact, (mean, along, shift, factor)))
    return back_x, own[0], own[1], None, None


# ---- moments of each image alone: the formulas on some images at a time, whose passes then stay in the cache


def _images_at_a_time(x):
    step = blocking.rows_in_block(math.prod(x.shape[1:]))
    return [run for share in blocking.split_by_work(len(x), x.size) for run in blocking.split_by_step(share, step)]


@group_formulas.group_norm.fast_path("numpy")
def group_norm(x: numpy.ndarray, gamma: numpy.ndarray, beta: numpy.ndarray, *, groups: int,
               eps: float = group_formulas.EPS) -> numpy.ndarray:
    """The formula of some images at a time."""
    if not _covers(x, gamma, beta):
        return NotImplemented
    out = buffer_pool.empty(x.shape, x.dtype)

    def compute(run):
        out[run] = group_formulas.group_norm.plain(x[run], gamma, beta, groups=groups, eps=eps)

    thread_pool.parallel_map(compute, _images_at_a_time(x))
    return out


@group_formulas.group_norm_vjp.fast_path("numpy")
def group_norm_vjp(cotangent: numpy.ndarray, x: numpy.ndarray, gamma: numpy.ndarray, *, groups: int,
                   eps: float = group_formulas.EPS) -> tuple[numpy.ndarray, ...]:
    """The formula of some images at a time; the sums for gamma and beta are added in the order of the images."""
    if cotangent.shape != x.shape or not _covers(x, cotangent, gamma):
        return NotImplemented
    out = buffer_pool.empty(x.shape, x.dtype)

    def compute(run):
        out[run], *sums = group_formulas.group_norm_vjp.plain(cotangent[run], x[run], gamma, groups=groups, eps=eps)
        return numpy.stack(sums)

    back_gamma, back_beta = blocking.reduce_blocks(compute, _images_at_a_time(x))
    return out, back_gamma, back_beta
