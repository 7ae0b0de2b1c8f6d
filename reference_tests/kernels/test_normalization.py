"""Normalizations on CuPy: moments of groups of channels, the result, the derivative, and batch normalization by them.

u is half an epsilon of the type that is computed in. gamma/sqrt(variance + eps) has five roundings, x - mean one.
"""

import math

import cupy
import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from nfnumpy import ops
from nfnumpy.backend import cuda, to_host
from nfnumpy.functional import group_normalization, normalization as formulas
from nfnumpy.functional.fast_cupy import image_means
from nfnumpy.functional.fast_cupy.normalization import Grouped
from reference_tests.helpers.on_gpu import (
    ANY_DTYPE,
    DTYPES,
    bits_in_all_orders,
    exact,
    hold,
    launched,
    normal,
    put,
    units,
    waits,
)

EPS = 1e-3
IMAGES = st.tuples(st.integers(1, 3), st.integers(1, 70), st.sampled_from([1, 2, 3, 4, 6, 8, 16, 24, 36, 72]))


@st.composite
def problems(draw):
    """((N, pixels, C), groups)."""
    shape = draw(IMAGES)
    return shape, draw(st.sampled_from([groups for groups in range(1, shape[2] + 1) if shape[2] % groups == 0]))


BATCH = (1, 1101, 24), 24  # shares that are not equally long
WIDE = (2, 60, 300), 300  # blocks of channels
LAYER = (3, 90, 36), 1
GROUPED = (2, 301, 32), 4


def everywhere(test):
    for problem in (BATCH, WIDE, LAYER, GROUPED):
        for dtype in (np.float32, np.float16):
            test = example(problem=problem, dtype=dtype, misaligned=False, shares=5)(test)
    return given(problem=problems(), dtype=ANY_DTYPE, misaligned=st.booleans(), shares=st.sampled_from([1, 5]))(test)


def in_shares(shares, function):
    """function() where up to so many blocks divide an image's pixels, however few these are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_means, "ENOUGH_BLOCKS", shares)
        patch.setattr(image_means, "WORTH_A_SHARE", 1)
        return function()


def wide_type(dtype):
    return cuda.accumulator_type(np.dtype(dtype))


def in_groups(values, groups):
    """(N, pixels, C) as (N, pixels, groups, C/groups)."""
    return values.reshape(*values.shape[:-1], groups, -1)


class Exact:
    """What the kernels are to give for x, and the errors that roundings allow."""

    def __init__(self, x, groups, shares, dtype):
        self.u = units(dtype)[0]
        self.x, self.groups = in_groups(exact(x), groups), groups
        of = {"axis": (1, 3)}
        self.mean, self.variance = self.x.mean(**of), self.x.var(**of)
        largest, span = np.abs(self.x).max(**of), self.x.max(**of) - self.x.min(**of)
        lanes, shares, _ = in_shares(shares, lambda: image_means.layout_of_sums(
            len(x), x.shape[1], image_means.packs_of(x.shape[2], np.dtype(dtype))))
        rows, parts = 256 // lanes, math.ceil(shares * x.shape[2] / groups / 32) + 5
        steps = math.ceil(math.ceil(x.shape[1] / shares) / rows)
        self.terms = steps + rows + parts + 16  # of any sum, with the roundings of a term
        # Step k of a running mean rounds it by u, and the k-th part of a distance, at most twice the largest value, by
        # 3u. Joint means are sums of distances from a first mean. An error of the mean enters squares with the span.
        self.mean_error = self.u * (largest * (steps + 6 * (1 + math.log(steps)) + 4) + self.terms * span)
        self.variance_error = 2 * self.mean_error * span + self.mean_error**2 + self.terms * self.u * span**2

    def spread(self, of_groups):
        """(N, groups) beside (N, pixels, groups, C/groups)."""
        return exact(of_groups).reshape(len(self.x), 1, self.groups, 1)


@everywhere
def test_moments_are_those_of_every_group(problem, dtype, misaligned, shares):
    shape, groups = problem
    x = normal(shape, dtype) + np.asarray(3.0, dtype)
    wanted = Exact(x, groups, shares, dtype)
    mean, variance = in_shares(shares, lambda: Grouped(put(x, misaligned), len(x), groups).moments(put(x, misaligned)))
    hold(mean, wanted.mean.ravel(), wanted.mean_error.ravel(), wide_type(dtype))
    hold(variance, wanted.variance.ravel(), wanted.variance_error.ravel(), wide_type(dtype))


def test_a_mean_far_from_zero_costs_the_variance_no_digits():
    """ΣX² - M·mean² of these numbers, 10⁸ each, would be wrong by several units where the variance is 1."""
    x = (normal((1, 1100, 24), np.float32) + np.float32(1e4))
    wanted = Exact(x, 24, 5, np.float32)
    assert np.all(wanted.variance_error < 0.5 * wanted.variance)
    variance = in_shares(5, lambda: formulas.batch_moments(put(x)).variance)
    hold(variance, wanted.variance.ravel(), wanted.variance_error.ravel(), np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_channels_have_their_value_and_no_variance(dtype):
    x = np.broadcast_to(normal((8,), dtype), (3, 7, 5, 8)).copy()
    mean, variance, count = in_shares(5, lambda: formulas.batch_moments(put(x)))
    assert count == 105
    assert np.array_equal(to_host(mean), x[0, 0, 0].astype(wide_type(dtype)))
    assert not to_host(variance).any()


def given_moments(shape, groups, dtype):
    """gamma, beta (C,), mean and variance (N·groups,)."""
    wide, many = wide_type(dtype), shape[0] * groups
    return (normal(shape[2:], wide, 1), normal(shape[2:], wide, 2), normal((many,), wide, 3),
            np.abs(normal((many,), wide, 4)))


@everywhere
def test_values_are_shifted_and_scaled_by_the_moments_of_their_group(problem, dtype, misaligned, shares):
    shape, groups = problem
    x, of = normal(shape, dtype), given_moments(shape, groups, dtype)
    wanted = Exact(x, groups, shares, dtype)
    out = Grouped(put(x), len(x), groups).normalize(put(x, misaligned), *map(put, of), EPS)
    gamma, beta = (in_groups(exact(array), groups) for array in of[:2])
    mean, variance = map(wanted.spread, of[2:])
    product = (wanted.x - mean) * gamma / np.sqrt(variance + EPS)
    hold(out, (product + beta).reshape(shape), (8 * wanted.u * (np.abs(product) + np.abs(beta))).reshape(shape), dtype)


@everywhere
@pytest.mark.parametrize("through_moments", [True, False])
def test_the_derivative_is_that_of_the_group(through_moments, problem, dtype, misaligned, shares):
    shape, groups = problem
    x, cotangent = normal(shape, dtype), normal(shape, dtype, 5)
    gamma, _, mean, variance = given_moments(shape, groups, dtype)
    wanted = Exact(x, groups, shares, dtype)
    back, gamma_back, beta_back = in_shares(shares, lambda: Grouped(put(x), len(x), groups).vjp(
        put(cotangent, misaligned), put(x), *map(put, (gamma, mean, variance)), EPS, through_moments=through_moments))
    scale = 1 / np.sqrt(wanted.spread(variance) + EPS)
    unit, given_ = (wanted.x - wanted.spread(mean)) * scale, in_groups(exact(cotangent), groups)
    u, of_all = wanted.u, (wanted.terms + shape[0] * 6) * wanted.u  # images and shares are added up one by one
    for found, terms in ((gamma_back, given_ * unit), (beta_back, given_)):
        hold(found, terms.sum(axis=(0, 1)).ravel(), of_all * np.abs(terms).sum(axis=(0, 1)).ravel(), wide_type(dtype))
    scaled = in_groups(exact(gamma), groups) * given_
    expected, error = scaled, 8 * u * np.abs(scaled)
    if through_moments:
        of = {"axis": (1, 3), "keepdims": True}
        mean_back, along = scaled.mean(**of), (scaled * unit).mean(**of)
        most_back, most_along = np.abs(scaled).mean(**of), np.abs(scaled * unit).mean(**of)
        expected = scaled - mean_back - unit * along
        error = error + (wanted.terms + 10) * u * (most_back + np.abs(unit) * most_along)
    hold(back, (scale * expected).reshape(shape), (scale * error).reshape(shape), dtype)


# ---- batch normalization


def arrays_of(shape, dtype):
    gamma, beta, mean, variance = given_moments((1, 1, shape[-1]), shape[-1], dtype)
    return normal(shape, dtype), gamma, beta, mean, variance


def agree(ours, theirs, dtype):
    """Assert that both are equal but for roundings, of sums of at most 108 numbers below 32 and once to their dtype."""
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    computed, stored = units(dtype)[0], units(theirs.dtype)[1]
    np.testing.assert_allclose(np.float64(to_host(ours)), np.float64(theirs), rtol=2 * stored,
                               atol=108 * 32 * computed)


@pytest.mark.parametrize("shape", [(5, 16), (2, 3, 4, 9)])
@pytest.mark.parametrize("dtype", [np.float64, ml_dtypes.bfloat16])
def test_batches_of_any_rank_are_the_formulas(shape, dtype):
    x, *of = arrays_of(shape, dtype)
    cotangent = normal(shape, dtype, 6)
    for function, arguments in (
            (formulas.batch_moments, (x,)), (formulas.normalize, (x, *of)), (formulas.batch_norm, (x, *of[:2])),
            (formulas.normalize_vjp, (cotangent, x, of[0], *of[2:])),
            (formulas.batch_norm_vjp, (cotangent, x, of[0], None, None))):
        options = {} if function is formulas.batch_moments else {"eps": EPS}
        found, expected = function(*(a if a is None else put(a) for a in arguments), **options), \
            function.plain(*arguments, **options)
        pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
        for ours, theirs in pairs:
            if theirs is not None and not isinstance(theirs, int):
                agree(ours, theirs, dtype)


@pytest.mark.parametrize("groups", [1, 3, 9])
@pytest.mark.parametrize("dtype", [np.float64, ml_dtypes.bfloat16])
def test_group_normalization_is_the_formula(dtype, groups):
    x, gamma, beta, *_ = arrays_of((2, 3, 4, 9), dtype)
    cotangent = normal(x.shape, dtype, 6)
    expected = [group_normalization.group_norm.plain(x, gamma, beta, groups=groups),
                *group_normalization.group_norm_vjp.plain(cotangent, x, gamma, groups=groups)]
    found = [group_normalization.group_norm(put(x), put(gamma), put(beta), groups=groups),
             *group_normalization.group_norm_vjp(put(cotangent), put(x), put(gamma), groups=groups)]
    for ours, theirs in zip(found, expected, strict=True):
        agree(ours, theirs, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_order_of_threads_gives_the_same_bits(dtype):
    x, *of = map(put, arrays_of((2, 9, 9, 72), dtype))
    assert len(bits_in_all_orders(lambda: in_shares(5, lambda: (
        *formulas.batch_moments(x)[:2], formulas.normalize(x, *of, eps=EPS),
        *formulas.batch_norm_vjp(x, x, of[0], *of[2:], eps=EPS)[:3])))) == 1


def test_a_few_launches_compute_each_without_waiting():
    x, gamma, beta, mean, variance = map(put, arrays_of((2, 3, 4, 8), np.float32))
    for run, kernels in (
            (lambda: formulas.batch_norm(x, gamma, beta, eps=EPS), ["channel_moments", "join_moments", "normalize"]),
            (lambda: formulas.batch_norm_vjp(x, x, gamma, mean, variance, eps=EPS),
             ["channel_sums", "join_sums", "normalize_vjp", "column_sums"]),
            (lambda: formulas.normalize_vjp(x, x, gamma, mean, variance, eps=EPS),
             ["channel_sums", "scale_vjp", "column_sums"]),
            (lambda: group_normalization.instance_norm(x, gamma, beta),
             ["channel_moments", "join_moments", "normalize"]),
            (lambda: group_normalization.layer_norm_vjp(x, x, gamma, over="image"),
             ["channel_moments", "join_moments", "channel_sums", "join_sums", "normalize_vjp", "column_sums"])):
        assert launched(run) == kernels and waits(run) == 0


def test_joint_sums_other_dtypes_single_pixels_and_no_values_are_the_formulas():
    x, gamma, beta, mean, variance = map(put, arrays_of((2, 3, 4, 8), np.float32))
    double = variance.astype(np.float64)
    for run in (lambda: formulas.batch_moments(x, joint_sum=lambda sums: sums),
                lambda: formulas.batch_norm_vjp(x, x, gamma, mean, variance, eps=EPS, joint_sum=lambda sums: sums),
                lambda: formulas.normalize(x, gamma, beta, mean, double, eps=EPS),
                lambda: group_normalization.layer_norm(x, gamma, beta, over="channels"),
                lambda: formulas.normalize(cupy.ones((0, 8), np.float32), gamma, beta, mean, variance, eps=EPS)):
        assert launched(run) == []


def test_the_tape_reaches_the_kernels():
    x, gamma, beta, _, _ = map(put, arrays_of((2, 3, 4, 8), np.float16))
    assert "normalize" in launched(lambda: ops.batch_norm(x, gamma, beta, eps=EPS))
