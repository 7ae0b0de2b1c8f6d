"""The fast paths of `functional.normalization` and of `functional.group_normalization`, block by block on threads.

Batch normalization reads x once for its moments, and once for the result; its derivative reads x and the cotangent
twice. The moments of each block are taken in two passes while it is in the cache, and joined by the formula of Chan,
Golub, LeVeque (1979), as ΣX² - M·mean² would lose the digits that both have in common. Short rows of channels are
taken several at a time.

Formulas: functional/normalization.py, group_normalization.py. Test: fast_numpy/test_normalization.py.
"""

import math
from collections.abc import Callable, Sequence

import numpy

from ...backend import blocking, buffer_pool, scratch, thread_pool, tuning
from .. import group_normalization as group_formulas, normalization as formulas
from ..normalization_inputs import JointSum, over_devices
from .dtypes import share_float_dtype


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


def _block_moments(block):
    """(number of rows, mean, Σ(x - mean)²) of a block (rows, values)."""
    mean = numpy.matmul(numpy.full(len(block), 1.0 / len(block), block.dtype), block)
    centred = numpy.subtract(block, mean, out=scratch.empty("centred", block.shape, block.dtype))
    return len(block), mean, numpy.einsum("ij,ij->j", centred, centred)


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


def _fill(function: Callable[..., object], arrays: Sequence[numpy.ndarray], channels: Sequence[numpy.ndarray],
          together: int) -> numpy.ndarray:
    """A new array of which function(out, *arrays, *channels) fills every block; channels: arrays (C,)."""
    out = buffer_pool.empty(arrays[0].shape, arrays[0].dtype)
    views = [_rows(array, together) for array in (out, *arrays)]
    repeated = [numpy.tile(row, together) for row in channels]

    def compute(blocks):
        for block in blocks:
            function(*(view[block] for view in views), *repeated)

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

    def compute(out, x, mean, factor, beta):
        numpy.subtract(x, mean, out=out)
        out *= factor
        out += beta

    return _fill(compute, [x], [mean, gamma / numpy.sqrt(variance + eps), beta], _together(x))


def _back_sums(cotangent, x, mean, together):
    """Σ(x - mean)·G and ΣG over the rows: (2, C), added in the order of the blocks."""
    back, rows, mean = _rows(cotangent, together), _rows(x, together), numpy.tile(mean, together)

    def add_up(blocks):
        sums = numpy.zeros((2, rows.shape[1]), dtype=numpy.float64)
        for block in blocks:
            own = back[block]
            centred = numpy.subtract(rows[block], mean, out=scratch.empty("centred", own.shape, own.dtype))
            sums[0] += numpy.einsum("ij,ij->j", centred, own)
            sums[1] += numpy.matmul(numpy.ones(len(own), dtype=own.dtype), own)
        return sums

    sums = blocking.reduce_blocks(add_up, _blocks(rows))
    return sums.reshape(2, together, -1).sum(axis=1).astype(x.dtype)


@formulas.batch_norm_vjp.fast_path("numpy")
def batch_norm_vjp(cotangent: numpy.ndarray, x: numpy.ndarray, gamma: numpy.ndarray, mean: numpy.ndarray | None,
                   variance: numpy.ndarray | None, *, eps: float,
                   joint_sum: JointSum | None = None) -> tuple[numpy.ndarray | None, ...]:
    """With f = gamma/sqrt(variance + eps): G·f - (x - mean)·a - b, a and b from the sums over a channel."""
    if mean is None or variance is None or type(eps) not in (int, float) or cotangent.shape != x.shape \
            or not _covers(x, cotangent, gamma, mean, variance):
        return NotImplemented
    scale, together = 1.0 / numpy.sqrt(variance + eps), _together(x)
    sums = _back_sums(cotangent, x, mean, together)
    own = numpy.stack([sums[0] * scale, sums[1], numpy.full_like(scale, math.prod(x.shape[:-1]))])
    joint = over_devices(own, joint_sum)
    factor = gamma * scale
    aligned, shift = factor * scale * (joint[0] / joint[2]), factor * (joint[1] / joint[2])

    def compute(out, back, rows, mean, factor, aligned, shift):
        numpy.subtract(rows, mean, out=out)
        out *= aligned
        out += shift
        numpy.subtract(numpy.multiply(back, factor, out=scratch.empty("product", out.shape, out.dtype)), out, out=out)

    return _fill(compute, [cotangent, x], [mean, factor, aligned, shift], together), own[0], own[1], None, None


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
