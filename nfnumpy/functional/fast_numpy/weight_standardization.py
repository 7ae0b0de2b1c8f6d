"""The fast paths of `functional.weight_standardization`, in blocks of rows.

One pass adds up what each unit's statistics need, another one changes the values: with s = Σ(W - mu)² = ΣW² - N·mu²,
both results are sums of W, G and 1, each times a number for each unit.

Formulas: functional/weight_standardization.py. Test: fast_numpy/test_weight_standardization.py.
"""

from collections.abc import Callable, Sequence

import numpy

from ...backend import blocking, buffer_pool, scratch, tuning
from .. import weight_standardization as formulas
from ..safe_range import range_of
from .dtypes import share_float_dtype


def _rows(weight):
    """(fan-in, out)."""
    return weight.reshape(-1, weight.shape[-1])


def _covers(weight, gain, eps, *others):
    return (weight.size > tuning.SMALL_WEIGHT_VALUES and share_float_dtype(weight, gain, *others) and weight.ndim >= 2
            and type(eps) in (int, float) and gain.shape == weight.shape[-1:]
            and all(other.shape == weight.shape for other in others))


def _shares(rows):
    return blocking.split_by_work(len(rows), tuning.STANDARDIZATION_PASSES * rows.size)


def _sums(weight: numpy.ndarray, others: Sequence[numpy.ndarray]) -> numpy.ndarray:
    """ΣW and ΣW², then for each of `others` ΣG and ΣWG, over each unit: an array (sums, out)."""
    def add_up(share):
        own, ones = weight[share], numpy.ones(share.stop - share.start, dtype=weight.dtype)
        sums = numpy.empty((2 + 2 * len(others), weight.shape[1]), dtype=weight.dtype)
        for k, array in enumerate([weight, *others]):
            numpy.matmul(ones, array[share], out=sums[2 * k])
            numpy.einsum("ij,ij->j", own, array[share], out=sums[2 * k + 1])
        return sums

    return blocking.reduce_blocks(add_up, _shares(weight))


def _statistics(sums, fan_in, eps):
    """mu, 1/sqrt(max(s, eps)) and whether s > eps.

    None, for the formula, where too little of ΣW² would be left of a unit's s or squares leave the dtype's range.
    """
    if not numpy.isfinite(sums).all():
        return None
    mean = sums[0] / fan_in
    lost = sums[0] * mean
    if not numpy.all(lost <= 0.5 * sums[1]):
        return None
    squared_norm = sums[1] - lost
    least = range_of(sums).least ** 2
    if eps < least and not numpy.all(squared_norm >= least):
        return None
    return mean, 1.0 / numpy.sqrt(numpy.clip(squared_norm, eps, None)), squared_norm > eps


def _fill(function: Callable[..., object], like: numpy.ndarray, arrays: Sequence[numpy.ndarray],
          units: Sequence[numpy.ndarray]) -> numpy.ndarray:
    """A new array like a weight, of which function(out, *arrays, *units) fills every block of rows (rows, out).

    units: arrays (out,), repeated for every row.
    """
    out = buffer_pool.empty(like.shape, like.dtype)
    blocking.blockwise(function, _rows(out), *arrays, rows=units, shares=_shares(_rows(out)))
    return out


@formulas.standardize_weight.fast_path("numpy")
def standardize_weight(weight: numpy.ndarray, gain: numpy.ndarray, *, eps: float = 1e-4) -> numpy.ndarray:
    """(W - mu)·(gain/sqrt(max(s, eps)))."""
    if not _covers(weight, gain, eps):
        return NotImplemented
    rows = _rows(weight)
    statistics = _statistics(_sums(rows, []), len(rows), eps)
    if statistics is None:
        return NotImplemented
    mean, scale, _ = statistics

    def compute(out, rows, mean, factor):
        numpy.subtract(rows, mean, out=out)
        out *= factor

    return _fill(compute, weight, [rows], [mean, scale * gain])


@formulas.standardize_weight_vjp.fast_path("numpy")
def standardize_weight_vjp(cotangent: numpy.ndarray, weight: numpy.ndarray, gain: numpy.ndarray, *,
                           eps: float = 1e-4) -> tuple[numpy.ndarray, numpy.ndarray]:
    """With f = gain/sqrt(s) and a = f·⟨u, G⟩/sqrt(s): G·f - W·a + (mu·a - mean(G)·f)."""
    if not _covers(weight, gain, eps, cotangent):
        return NotImplemented
    rows, back = _rows(weight), _rows(cotangent)
    sums = _sums(rows, [back])
    statistics = _statistics(sums, len(rows), eps)
    if statistics is None:
        return NotImplemented
    mean, scale, above_floor = statistics
    factor = scale * gain
    along = (sums[3] - mean * sums[2]) * scale
    aligned = factor * scale * along * above_floor
    shift = mean * aligned - sums[2] / len(rows) * factor

    def compute(out, back, rows, factor, aligned, shift):
        numpy.multiply(back, factor, out=out)
        out -= numpy.multiply(rows, aligned, out=scratch.empty("product", out.shape, out.dtype))
        out += shift

    return _fill(compute, weight, [back, rows], [factor, aligned, shift]), along
