"""Weight standardization in blocks is its formula but for rounding, on any number of threads."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as shapes_of

from nfnumpy import InputError
from nfnumpy.functional.weight_standardization import standardize_weight, standardize_weight_vjp
from reference_tests.helpers.fast_paths import (
    DTYPES,
    LAYOUTS,
    THREADS,
    expect_close,
    expect_same_bits,
    in_layout,
    with_threads,
)
from reference_tests.helpers.strategies import seeds

EPS = [1e-4, 1e4]  # far below and far above the squared norm of a unit


@st.composite
def weights(draw):
    """(cotangent, weight, gain) of one dtype, means of up to 3 standard deviations, in any layout."""
    shape = draw(shapes_of.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=7))
    draws, dtype, layout = np.random.default_rng(draw(seeds)), draw(DTYPES), draw(LAYOUTS)
    weight = draws.uniform(-1, 1, shape) + draw(st.sampled_from([0.0, 0.1, 2.0]))
    weight.reshape(-1, shape[-1])[0] += 1.0  # a fan-in of equal weights would be on the floor
    arrays = draws.standard_normal(shape), weight, draws.uniform(-2, 2, shape[-1:])
    return [in_layout(array.astype(dtype), layout) for array in arrays]


def sizes(weight, gain, eps):
    """(|W| + mean|W|, |gain|/sqrt(max(s, eps)), the roundings in the squared norm s) of every unit.

    s is a difference of sums of N terms of which half is left: 2·(N + 4) roundings, as many again in the formula's.
    """
    axes, fan_in = tuple(range(weight.ndim - 1)), weight[..., 0].size
    spread = weight - weight.mean(axis=axes)
    floored = np.maximum((spread * spread).sum(axis=axes), eps)
    return np.abs(weight) + np.abs(weight).mean(axis=axes), np.abs(gain) / np.sqrt(floored), 4 * (fan_in + 4)


@given(arrays=weights(), eps=st.sampled_from(EPS), count=THREADS)
def test_the_result_is_the_formulas_within_rounding(arrays, eps, count):
    _, weight, gain = arrays
    size, factor, roundings = sizes(weight, gain, eps)
    expect_close(with_threads(count, standardize_weight, weight, gain, eps=eps),
                 standardize_weight.plain(weight, gain, eps=eps), roundings, size * factor)


@given(arrays=weights(), eps=st.sampled_from(EPS), count=THREADS)
def test_the_gradient_is_the_formulas_within_rounding(arrays, eps, count):
    """Four times the roundings: two squared norms, an inner product and its mean are multiplied with each other."""
    cotangent, weight, gain = arrays
    axes = tuple(range(weight.ndim - 1))
    size, factor, roundings = sizes(weight, gain, eps)
    scale = 1 / np.sqrt(np.maximum(((weight - weight.mean(axis=axes)) ** 2).sum(axis=axes), eps))
    along = (size * np.abs(cotangent)).sum(axis=axes) * scale
    back, back_gain = with_threads(count, standardize_weight_vjp, cotangent, weight, gain, eps=eps)
    formula, formula_gain = standardize_weight_vjp.plain(cotangent, weight, gain, eps=eps)
    expect_close(back, formula, 4 * roundings,
                 factor * (np.abs(cotangent) + np.abs(cotangent).mean(axis=axes) + size * scale * along))
    expect_close(back_gain, formula_gain, 4 * roundings, along)


@given(arrays=weights(), count=THREADS)
def test_the_same_number_of_threads_gives_the_same_bits(arrays, count):
    expect_same_bits(count, standardize_weight, *arrays[1:])
    expect_same_bits(count, standardize_weight_vjp, *arrays)


@pytest.mark.parametrize("mean", [3.0, 1e3])
def test_a_mean_far_above_the_spread_is_left_to_the_formula(mean):
    """ΣW² - N·mu² would lose the digits that both have in common: at a mean of 1,000, a twentieth of s in float32."""
    random = np.random.default_rng(0)
    weight = (mean + random.standard_normal((3, 3, 128, 128))).astype(np.float32)
    cotangent, gain = random.standard_normal(weight.shape).astype(np.float32), np.ones(128, np.float32)
    assert np.array_equal(standardize_weight(weight, gain), standardize_weight.plain(weight, gain))
    for found, expected in zip(standardize_weight_vjp(cotangent, weight, gain),
                               standardize_weight_vjp.plain(cotangent, weight, gain), strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_infinities_and_nan_stay_in_their_unit(bad):
    weight, gain = np.random.default_rng(0).standard_normal((3, 3, 4, 5)), np.ones(5)
    weight[1, 1, 2, 3] = bad
    with np.errstate(invalid="ignore"):
        for function, arrays in ((standardize_weight, (weight, gain)),
                                 (standardize_weight_vjp, (weight, weight, gain))):
            fast, formula = (np.asarray(result[0] if isinstance(result, tuple) else result) for result in (
                with_threads(2, function, *arrays), function.plain(*arrays)))
            assert np.array_equal(np.isnan(fast), np.isnan(formula))


def test_empty_weights_and_mixed_dtypes_are_left_to_the_formula():
    for weight, gain in ((np.ones((3, 0)), np.ones(0)), (np.ones((3, 2), np.float32), np.ones(2))):
        fast, formula = with_threads(2, standardize_weight, weight, gain), standardize_weight.plain(weight, gain)
        assert fast.dtype == formula.dtype and np.array_equal(fast, formula)


def test_mistakes_are_the_formulas_errors():
    with pytest.raises(InputError, match="standardize_weight"):
        with_threads(2, standardize_weight, np.ones((3, 4)), np.ones(3))
