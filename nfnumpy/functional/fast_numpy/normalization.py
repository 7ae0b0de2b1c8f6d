"""The fast paths of `functional.normalization`, block by block on threads.

Batch normalization reads x once for its moments, and once for the result; its derivative reads x and the cotangent
twice. The moments of blocks are joined by the formula of Chan, Golub, LeVeque (1979). Within a block, ΣX² - M·mean² is
Σ(x - mean)² with a pass less, where few digits are lost so. A nonlinearity that follows is computed while a block is in
the cache.

Formulas: functional/normalization.py. Test: fast_numpy/test_normalization.py.
"""

import math

import numpy

from ...backend import blocking, buffer_pool, scratch, thread_pool
from .. import normalization as formulas
from ..normalization_inputs import JointSum, over_devices
from .activations import IN_PLACE, VJP_IN_PLACE
from .channel_blocks import ChannelStep, Step, are_far, as_rows, blocks_of, chosen, covers, fill, rows_together

FAR_FOR_SQUARES = 4.0  # how many deviations from 0 a mean may be: ΣX² - M·mean² loses up to four bits then


def _block_moments(block):
    """(number of rows, mean, Σ(x - mean)²) of a block (rows, values)."""
    rows = len(block)
    with numpy.errstate(over="ignore", invalid="ignore"):
        squares = numpy.einsum("ij,ij->j", block, block)
        mean = numpy.matmul(numpy.full(rows, 1.0 / rows, block.dtype), block)
        squares -= rows * mean * mean
    far = chosen(are_far(mean, squares / rows, FAR_FOR_SQUARES))
    if far is not None:
        centred = block[:, far] - mean[far]
        error = numpy.mean(centred, axis=0)  # of a rounded mean
        squares[far] = numpy.einsum("ij,ij->j", centred, centred) - rows * error * error
        mean = mean.astype(numpy.float64)
        mean[far] += error
    return rows, mean, squares


@formulas.batch_moments.fast_path("numpy")
def batch_moments(x: numpy.ndarray, *, joint_sum: JointSum | None = None) -> formulas.Moments:
    """Moments of blocks, joined in float64."""
    if joint_sum is not None or not covers(x):
        return NotImplemented
    together = rows_together(x)
    rows = as_rows(x, together)
    parts = thread_pool.parallel_map(lambda blocks: [_block_moments(rows[block]) for block in blocks], blocks_of(rows))
    counts, means, squares = (numpy.array(values, dtype=numpy.float64)
                              for values in zip(*(part for some in parts for part in some), strict=True))
    means, squares = (values.reshape(len(counts), together, -1) for values in (means, squares))
    mean = numpy.einsum("i,ijk->k", counts, means) / (len(rows) * together)
    squares = squares.sum(axis=(0, 1)) + numpy.einsum("i,ijk->k", counts, (means - mean) ** 2)
    values = len(rows) * together
    return formulas.Moments(mean.astype(x.dtype), (squares / values).astype(x.dtype), values)


def _normalizing(together, gamma, beta, mean, variance, eps):
    """step(out, x) of `normalize`."""
    def near(out, x, factor, shift):
        numpy.multiply(x, factor, out=out)
        out += shift

    def exact(out, x, mean, factor, beta):
        numpy.subtract(x, mean, out=out)
        out *= factor
        out += beta

    factor = gamma / numpy.sqrt(variance + eps)
    return ChannelStep(together, are_far(mean, variance + eps), Step(near, (factor, beta - mean * factor)),
                       Step(exact, (mean, factor, beta)))


@formulas.normalize.fast_path("numpy")
def normalize(x: numpy.ndarray, gamma: numpy.ndarray, beta: numpy.ndarray, mean: numpy.ndarray,
              variance: numpy.ndarray, *, eps: float) -> numpy.ndarray:
    """The formula, block by block."""
    if type(eps) not in (int, float) or not covers(x, gamma, beta, mean, variance):
        return NotImplemented
    together = rows_together(x)
    return fill(_normalizing(together, gamma, beta, mean, variance, eps), together, None, x)


def _back_sums(back, x, mean, is_far, before=None):
    """Σ(x - mean)·G and ΣG over the rows: (2, C), added in the order of the blocks.

    before(block, G, x): fills the block of G, given its slice and the rows of both.
    """
    together = rows_together(x)
    back, rows, far = as_rows(back, together), as_rows(x, together), chosen(numpy.tile(is_far, together))
    mean = numpy.tile(mean, together)

    def add_up(blocks):
        sums = numpy.zeros((2, rows.shape[1]), dtype=numpy.float64)
        for block in blocks:
            own = back[block]
            if before is not None:
                before(block, own, rows[block])
            products = numpy.einsum("ij,ij->j", rows[block], own)  # first: it streams both blocks into the cache
            total = numpy.matmul(numpy.ones(len(own), dtype=own.dtype), own)
            along = products - mean * total
            if far is not None:
                along[far] = numpy.einsum("ij,ij->j", rows[block][:, far] - mean[far], own[:, far])
            sums[0] += along
            sums[1] += total
        return sums

    sums = blocking.reduce_blocks(add_up, blocks_of(rows))
    return sums.reshape(2, together, -1).sum(axis=1).astype(x.dtype)


def _joined(sums, rows, scale, joint_sum):
    """(of this device: Σu·G, ΣG and the number of rows; the means of u·G and G over all devices)."""
    own = numpy.stack([sums[0] * scale, sums[1], numpy.full_like(scale, rows)])
    joint = over_devices(own, joint_sum)
    return own, joint[0] / joint[2], joint[1] / joint[2]


def _propagating(together, is_far, mean, factor, along, shift):
    """step(out, G, x) of (G - (x - mean)·along - shift)·factor."""
    def near(out, back, x, along, shift, factor):
        product = numpy.multiply(x, along, out=scratch.empty("product", x.shape, x.dtype))
        numpy.subtract(back, product, out=out)
        out -= shift
        out *= factor

    def exact(out, back, x, mean, along, shift, factor):
        near(out, back, x - mean, along, shift, factor)

    return ChannelStep(together, is_far, Step(near, (along, shift - mean * along, factor)),
                       Step(exact, (mean, along, shift, factor)))


@formulas.batch_norm_vjp.fast_path("numpy")
def batch_norm_vjp(cotangent: numpy.ndarray, x: numpy.ndarray, gamma: numpy.ndarray, mean: numpy.ndarray | None,
                   variance: numpy.ndarray | None, *, eps: float,
                   joint_sum: JointSum | None = None) -> tuple[numpy.ndarray | None, ...]:
    """(G - (x - mean)·a - b)·gamma/sqrt(variance + eps), a and b from the sums over a channel."""
    if mean is None or variance is None or type(eps) not in (int, float) or cotangent.shape != x.shape \
            or not covers(x, cotangent, gamma, mean, variance):
        return NotImplemented
    return _batch_norm_vjp(cotangent, x, gamma, mean, variance, eps, joint_sum, None, None)


def _batch_norm_vjp(cotangent, x, gamma, mean, variance, eps, joint_sum, out, before):
    """out: where the cotangent of x is written, None for a new array; before: as `_back_sums` takes it."""
    scale, is_far, together = 1.0 / numpy.sqrt(variance + eps), are_far(mean, variance + eps), rows_together(x)
    sums = _back_sums(cotangent, x, mean, is_far, before)
    own, along, shift = _joined(sums, math.prod(x.shape[:-1]), scale, joint_sum)
    step = _propagating(together, is_far, mean, gamma * scale, scale * along, shift)
    return fill(step, together, out, cotangent, x), own[0], own[1], None, None


# ---- with the nonlinearity that follows


def _covers_activated(name, eps, x, *others):
    return name in IN_PLACE and type(eps) in (int, float) and covers(x, *others)


def _between(like):
    """Where the normalized values of a block wait for the nonlinearity."""
    return scratch.empty("normalized", like.shape, like.dtype)


@formulas.activated_batch_norm.fast_path("numpy")
def activated_batch_norm(x: numpy.ndarray, gamma: numpy.ndarray, beta: numpy.ndarray,
                         mean: numpy.ndarray | None = None, variance: numpy.ndarray | None = None, *, name: str,
                         eps: float, joint_sum: JointSum | None = None) -> numpy.ndarray:
    """Both steps on a block, then the next block."""
    if mean is None or variance is None or not _covers_activated(name, eps, x, gamma, beta, mean, variance):
        return NotImplemented
    activate, one, together = IN_PLACE[name], x.dtype.type(1), rows_together(x)
    normalizing = _normalizing(together, gamma, beta, mean, variance, eps)

    def compute(out, x):
        between = _between(x)
        normalizing(between, x)
        activate(between, out, one)

    return fill(compute, together, None, x)


@formulas.activated_batch_norm_vjp.fast_path("numpy")
def activated_batch_norm_vjp(cotangent: numpy.ndarray, x: numpy.ndarray, gamma: numpy.ndarray, beta: numpy.ndarray,
                             mean: numpy.ndarray | None, variance: numpy.ndarray | None, *, name: str, eps: float,
                             joint_sum: JointSum | None = None) -> tuple[numpy.ndarray | None, ...]:
    """The nonlinearity's derivative is written where that of the normalization then takes its place."""
    if mean is None or variance is None or cotangent.shape != x.shape \
            or not _covers_activated(name, eps, x, cotangent, gamma, beta, mean, variance):
        return NotImplemented
    propagate, one, together = VJP_IN_PLACE[name], x.dtype.type(1), rows_together(x)
    normalizing = _normalizing(together, gamma, beta, mean, variance, eps)
    given, out = as_rows(cotangent, together), buffer_pool.empty(x.shape, x.dtype)

    def through_nonlinearity(block: slice, back: numpy.ndarray, x: numpy.ndarray) -> None:
        between = _between(x)
        normalizing(between, x)
        propagate(given[block], between, back, one)

    return _batch_norm_vjp(out, x, gamma, mean, variance, eps, joint_sum, out, through_nonlinearity)
