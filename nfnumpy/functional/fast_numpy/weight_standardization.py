"""`weight_standardization.standardize_weight` and its derivative in blocks of rows, on our threads.

One pass adds up what each unit's statistics need, another one changes the values: with s = Σ(W - mu)² = ΣW² - N·mu²,
both results are sums of W, G and 1, each times a number for each unit.
"""

import numpy

from ...backend import buffer_pool, scratch, thread_pool
from .. import weight_standardization as formulas
from .blocks import blocks, covers, repeated, split_by_work

SMALL = 1 << 17  # values: up to here the formula is as fast
PASSES = 3  # over the values, each time that they are shared out


def _rows(weight):
    """(fan-in, out)."""
    return weight.reshape(-1, weight.shape[-1])


def _covers(weight, gain, eps, *others):
    return (weight.size > SMALL and covers(weight, gain, *others) and weight.ndim >= 2 and type(eps) in (int, float)
            and gain.shape == weight.shape[-1:] and all(other.shape == weight.shape for other in others))


def _sums(weight, others):
    """ΣW and ΣW², then for each of `others` ΣG and ΣWG, over each unit: an array (sums, out)."""
    def add_up(share):
        own, ones = weight[share], numpy.ones(share.stop - share.start, dtype=weight.dtype)
        sums = numpy.empty((2 + 2 * len(others), weight.shape[1]), dtype=weight.dtype)
        for k, array in enumerate([weight, *others]):
            numpy.matmul(ones, array[share], out=sums[2 * k])
            numpy.einsum("ij,ij->j", own, array[share], out=sums[2 * k + 1])
        return sums

    parts = thread_pool.parallel_map(add_up, split_by_work(len(weight), PASSES * weight.size))
    return sum(parts[1:], start=parts[0])


def _statistics(sums, fan_in, eps):
    """mu, 1/sqrt(max(s, eps)) and whether s > eps; None where too little of ΣW² would be left of a unit's s."""
    mean = sums[0] / fan_in
    lost = sums[0] * mean
    if not numpy.all(lost <= 0.5 * sums[1]):
        return None
    squared_norm = sums[1] - lost
    return mean, 1.0 / numpy.sqrt(numpy.clip(squared_norm, eps, None)), squared_norm > eps


def _fill(out, weight, compute, rows):
    """compute(block, the `rows` repeated as often as a block has any) for the blocks of `out`."""
    def work(share):
        cut = blocks(share, weight.shape[1])
        most = cut[0].stop - cut[0].start
        below = [repeated(f"rows {k}", row, most) for k, row in enumerate(rows)]
        for block in cut:
            compute(block, *(each[:block.stop - block.start] for each in below))

    thread_pool.parallel_map(work, split_by_work(len(weight), PASSES * weight.size))
    return out


@formulas.standardize_weight.fast_path("numpy")
def standardize_weight(weight, gain, *, eps=1e-4):
    """(W - mu)·(gain/sqrt(max(s, eps)))."""
    if not _covers(weight, gain, eps):
        return NotImplemented
    rows = _rows(weight)
    found = _statistics(_sums(rows, []), len(rows), eps)
    if found is None:
        return NotImplemented
    mean, scale, _ = found
    out = buffer_pool.empty(weight.shape, weight.dtype)

    def compute(block, mean, factor):
        target = numpy.subtract(rows[block], mean, out=_rows(out)[block])
        target *= factor

    return _fill(out, rows, compute, [mean, scale * gain])


@formulas.standardize_weight_vjp.fast_path("numpy")
def standardize_weight_vjp(cotangent, weight, gain, *, eps=1e-4):
    """With f = gain/sqrt(s) and a = f·⟨u, G⟩/sqrt(s): G·f - W·a + (mu·a - mean(G)·f)."""
    if not _covers(weight, gain, eps, cotangent):
        return NotImplemented
    rows, back = _rows(weight), _rows(cotangent)
    sums = _sums(rows, [back])
    found = _statistics(sums, len(rows), eps)
    if found is None:
        return NotImplemented
    mean, scale, above_floor = found
    factor, along = scale * gain, (sums[3] - mean * sums[2]) * scale
    aligned = factor * scale * along * above_floor
    out = buffer_pool.empty(weight.shape, weight.dtype)

    def compute(block, factor, aligned, shift):
        target = numpy.multiply(back[block], factor, out=_rows(out)[block])
        room = scratch.empty("product", target.shape, target.dtype)
        target -= numpy.multiply(rows[block], aligned, out=room)
        target += shift

    return _fill(out, rows, compute, [factor, aligned, mean * aligned - sums[2] / len(rows) * factor]), along
