"""Normalizations in blocks are their formulas but for rounding, on any number of threads."""

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from hypothesis.extra import numpy as shapes_of

from nfnumpy.functional.group_normalization import group_norm, group_norm_vjp
from nfnumpy.functional.normalization import (
    activated_batch_norm,
    activated_batch_norm_vjp,
    batch_moments,
    batch_norm_vjp,
    normalize,
)
from reference_tests.helpers.fast_paths import (
    DTYPES,
    LAYOUTS,
    THREADS,
    expect_close,
    expect_same_bits,
    in_layout,
    with_threads,
)
from reference_tests.helpers.strategies import alternating, seeds

EPS = 1e-2


@st.composite
def batches(draw):
    """(cotangent, x, gamma, beta) of one dtype in any layout."""
    shape = draw(shapes_of.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=7))
    random, dtype, layout = np.random.default_rng(draw(seeds)), draw(DTYPES), draw(LAYOUTS)
    arrays = random.normal(size=shape), alternating(random, shape), *random.normal(size=(2, shape[-1]))
    return [in_layout(array.astype(dtype), layout) for array in arrays]


def roundings(x):
    """Sums of as many terms in two orders, one sum within another, and the pointwise steps beside them."""
    return 4 * (x.size + 16)


@given(arrays=batches(), count=THREADS)
def test_moments_and_normalized_values_are_the_formulas_within_rounding(arrays, count):
    """Values are below 6, and their distances from the mean below 12."""
    _, x, gamma, beta = arrays
    mean, variance, values = with_threads(count, batch_moments, x)
    own_mean, own_variance, own_values = batch_moments.plain(x)
    assert values == own_values
    expect_close(mean, own_mean, roundings(x), 6.0)
    expect_close(variance, own_variance, roundings(x), 36.0)
    expect_close(with_threads(count, normalize, x, gamma, beta, own_mean, own_variance, eps=EPS),
                 normalize.plain(x, gamma, beta, own_mean, own_variance, eps=EPS), 16,
                 12 * np.abs(gamma) / np.sqrt(EPS) + np.abs(beta))


@given(arrays=batches(), count=THREADS)
def test_the_gradient_of_batch_norm_is_the_formulas_within_rounding(arrays, count):
    """u is at most 12/EPS^0.5, in absolute terms, and it is multiplied with itself and 1/EPS^0.5."""
    cotangent, x, gamma, _ = arrays
    mean, variance, _ = batch_moments.plain(x)
    found = with_threads(count, batch_norm_vjp, cotangent, x, gamma, mean, variance, eps=EPS)
    formula = batch_norm_vjp.plain(cotangent, x, gamma, mean, variance, eps=EPS)
    size, unit = np.abs(cotangent).max(), 12 / np.sqrt(variance + EPS)
    expect_close(found[0], formula[0], roundings(x), np.abs(gamma) * size * (2 + unit**2) / np.sqrt(variance + EPS))
    expect_close(found[1], formula[1], roundings(x), x.size * size * unit)
    expect_close(found[2], formula[2], roundings(x), x.size * size)
    assert found[3:] == (None, None)


@given(arrays=batches(), count=THREADS, name=st.sampled_from(["relu", "silu", "gelu"]))
def test_with_a_nonlinearity_normalizing_is_both_steps_within_rounding(arrays, count, name):
    """The normalized values as above; a nonlinearity with slopes below 1.2 adds a dozen roundings, its derivative more.

    Of values nearer to 0 than that bound relu may take the other side, so they are moved away from it.
    """
    cotangent, x, gamma, beta = arrays
    mean, variance, _ = batch_moments.plain(x)
    between = normalize.plain(x, gamma, beta, mean, variance, eps=EPS)
    unit = 12 / np.sqrt(variance + EPS)
    bound = 16 * np.finfo(x.dtype).eps * (12 * np.abs(gamma) / np.sqrt(EPS) + np.abs(beta))
    assume(name != "relu" or np.all(np.abs(between) > bound))
    options = {"name": name, "eps": EPS}
    out = with_threads(count, activated_batch_norm, x, gamma, beta, mean, variance, **options)
    expect_close(out, activated_batch_norm.plain(x, gamma, beta, mean, variance, **options), 40,
                 12 * np.abs(gamma) / np.sqrt(EPS) + np.abs(beta) + 1)
    found = with_threads(count, activated_batch_norm_vjp, cotangent, x, gamma, beta, mean, variance, **options)
    formula = activated_batch_norm_vjp.plain(cotangent, x, gamma, beta, mean, variance, **options)
    size = 1.2 * np.abs(cotangent).max() * (1 + np.abs(between).max())
    expect_close(found[0], formula[0], roundings(x), np.abs(gamma) * size * (2 + unit**2) / np.sqrt(variance + EPS))
    expect_close(found[1], formula[1], roundings(x), x.size * size * unit)
    expect_close(found[2], formula[2], roundings(x), x.size * size)
    assert found[3:] == (None, None)


@given(arrays=batches(), count=THREADS, groups=st.sampled_from([1, "all"]))
def test_norms_of_single_images_are_the_formulas_within_rounding(arrays, count, groups):
    cotangent, x, gamma, beta = arrays
    groups = x.shape[-1] if groups == "all" else 1
    size, unit = np.abs(cotangent).max() * max(1, np.abs(gamma).max()), 12 / np.sqrt(EPS)
    expect_close(with_threads(count, group_norm, x, gamma, beta, groups=groups, eps=EPS),
                 group_norm.plain(x, gamma, beta, groups=groups, eps=EPS), roundings(x), np.abs(gamma) * unit + 6)
    found = with_threads(count, group_norm_vjp, cotangent, x, gamma, groups=groups, eps=EPS)
    formula = group_norm_vjp.plain(cotangent, x, gamma, groups=groups, eps=EPS)
    expect_close(found[0], formula[0], roundings(x), size * (2 + unit**2) / np.sqrt(EPS))
    for back, own in zip(found[1:], formula[1:], strict=True):
        expect_close(back, own, roundings(x), x.size * size * unit)


@given(arrays=batches(), count=THREADS)
def test_the_same_number_of_threads_gives_the_same_bits(arrays, count):
    cotangent, x, gamma, _ = arrays
    mean, variance, _ = batch_moments.plain(x)
    expect_same_bits(count, lambda x: tuple(batch_moments(x)), x)
    expect_same_bits(count, lambda *arrays: batch_norm_vjp(*arrays, eps=EPS)[:3], cotangent, x, gamma, mean, variance)
    expect_same_bits(count, group_norm_vjp, cotangent, x, gamma, groups=1, eps=EPS)


@pytest.mark.parametrize("far", [0, 1, 40], ids=["none", "picked", "all"])
@pytest.mark.parametrize("mean", [3.9, 7.9, 1e4])
def test_means_far_above_the_deviation_cost_few_digits(far, mean):
    """Beside float64, in roundings u of float32, with the largest mean that counts as near.

    Blocks have 64 rows, four of them joined to one. The variance: ΣX² is (1 + mean²) times as large, and of 16 products
    and additions the roundings add up at random to some 4, the mean of 8 blocks to 1.4. The normalized values and the
    gradient: two roundings of a number up to mean + 6 deviations, and a few of the result.
    """
    sizes = {"BLOCK_VALUES": 64 * 40, "LONG_ROW_VALUES": 100}
    random, u = np.random.default_rng(far), np.finfo(np.float32).eps / 2
    means = np.where(np.arange(40) >= 40 - far, mean, 0.0)
    x, cotangent = (random.normal(size=(2, 16, 16, 40)).astype(np.float32) for _ in range(2))
    x += means.astype(np.float32)
    gamma, beta = random.normal(size=(2, 40)).astype(np.float32)
    wide = [array.astype(np.float64) for array in (x, gamma, beta, cotangent)]
    exact = batch_moments.plain(wide[0])
    found = with_threads(2, batch_moments, x, sizes=sizes)
    nearest = min(mean, 4.0) if far else 0.0
    np.testing.assert_allclose(found.variance, exact.variance, rtol=(1 + nearest**2) * 2 * u)
    moments = [value.astype(np.float32) for value in exact[:2]]
    wide_moments = [value.astype(np.float64) for value in moments]
    out = with_threads(2, normalize, x, gamma, beta, *moments, sizes=sizes, eps=EPS)
    nearest = min(mean, 8.0) + 6.0
    expect_close(out, normalize.plain(*wide[:3], *wide_moments, eps=EPS).astype(np.float32), 4,
                 (nearest * np.abs(gamma) + 1) * 2)
    back, *sums = with_threads(2, batch_norm_vjp, cotangent, x, gamma, *moments, sizes=sizes, eps=EPS)[:3]
    back_exact, *sums_exact = batch_norm_vjp.plain(wide[3], *wide[:2], *wide_moments, eps=EPS)[:3]
    expect_close(back, back_exact.astype(np.float32), 8, (6.0 + nearest) * np.abs(gamma) * 2)
    for own, own_exact in zip(sums, sums_exact, strict=True):  # 512 products of nearest·6 at most, added one by one
        expect_close(own, own_exact.astype(np.float32), 512, nearest * 6)


def test_joint_sums_and_half_precision_are_left_to_the_formula_or_used():
    random = np.random.default_rng(0)
    x, cotangent, ones = random.normal(size=(8, 3)), random.normal(size=(8, 3)), np.ones(3)
    joint = with_threads(2, batch_moments, x, joint_sum=lambda array: 2 * array)
    np.testing.assert_allclose(joint.mean, x.mean(axis=0), atol=1e-14)
    options = {"eps": EPS, "joint_sum": lambda array: 2 * array}
    for found, formula in zip(with_threads(2, batch_norm_vjp, cotangent, x, ones, ones, ones, **options)[:3],
                              batch_norm_vjp.plain(cotangent, x, ones, ones, ones, **options), strict=False):
        np.testing.assert_allclose(found, formula, atol=1e-12)
    half = with_threads(2, normalize, x.astype(np.float16), *[np.ones(3, np.float32)] * 4, eps=EPS)
    assert half.dtype == np.float16
