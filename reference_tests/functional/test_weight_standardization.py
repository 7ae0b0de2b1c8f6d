"""Weight standardization does not depend on the scale of the weights, as far as they are numbers of their dtype."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy.functional.weight_standardization import standardize_weight, standardize_weight_vjp
from reference_tests.helpers.fast_paths import with_threads
from reference_tests.helpers.strategies import seeds

EXPONENTS = {np.float32: st.integers(-80, 90), np.float64: st.integers(-900, 900)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data(), shape=st.tuples(st.integers(2, 9), st.integers(1, 4)), seed=seeds)
def test_a_power_of_two_changes_no_digit(dtype, data, shape, seed):
    """With eps = 0, W·2ᵏ has the result of W, and its gradient is that of W times 2⁻ᵏ, bit for bit."""
    by = dtype(2.0 ** data.draw(EXPONENTS[dtype]))
    draws = np.random.default_rng(seed)
    weight, cotangent = draws.standard_normal((2, *shape)).astype(dtype)
    gain = draws.uniform(0.5, 2.0, shape[-1:]).astype(dtype)
    with np.errstate(over="ignore"):
        scaled_unit = standardize_weight.plain(weight * by, gain, eps=0.0)
        scaled_back, scaled_along = standardize_weight_vjp.plain(cotangent, weight * by, gain, eps=0.0)
    back, along = standardize_weight_vjp.plain(cotangent, weight, gain, eps=0.0)
    assert np.array_equal(scaled_unit, standardize_weight.plain(weight, gain, eps=0.0))
    assert np.array_equal(scaled_back * by, back) and np.array_equal(scaled_along, along)


@pytest.mark.parametrize("exponent, eps", [(70, 1e-4), (-70, 0.0), (-70, 1e-40)])
def test_the_fast_path_leaves_squares_out_of_range(exponent, eps):
    draws = np.random.default_rng(0)
    weight, cotangent = draws.standard_normal((2, 3, 3, 5, 6)).astype(np.float32) * np.float32(2.0**exponent)
    gain = np.ones(6, np.float32)
    with np.errstate(over="ignore"):
        assert np.array_equal(with_threads(2, standardize_weight, weight, gain, eps=eps),
                              standardize_weight.plain(weight, gain, eps=eps))
        for fast, formula in zip(with_threads(2, standardize_weight_vjp, cotangent, weight, gain, eps=eps),
                                 standardize_weight_vjp.plain(cotangent, weight, gain, eps=eps), strict=True):
            assert np.isfinite(formula).all() and np.array_equal(fast, formula)


@pytest.mark.parametrize("size", [1e20, 1e38, 1e-25])
@pytest.mark.parametrize("eps", [1e-4, 0.0])
def test_float32_gives_what_float64_does(size, eps):
    draws = np.random.default_rng(0)
    weight, cotangent = draws.uniform(-1.0, 1.0, (2, 3, 3, 64, 5))
    gain = draws.uniform(0.5, 2.0, 5)
    narrow = [array.astype(np.float32) for array in (cotangent, weight * size, gain)]
    wide = [array.astype(np.float64) for array in narrow]
    with np.errstate(over="ignore"):
        results = standardize_weight(*narrow[1:], eps=eps), *standardize_weight_vjp(*narrow, eps=eps)
    exact = standardize_weight(*wide[1:], eps=eps), *standardize_weight_vjp(*wide, eps=eps)
    for one, other in zip(results, exact, strict=True):
        assert np.allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize("eps", [1e-4, 0.0])
def test_an_ordinary_unit_keeps_its_bits_beside_a_large_one(eps):
    weight = np.random.default_rng(0).standard_normal((3, 3, 4, 2)).astype(np.float32)
    beside = weight.copy()
    beside[..., 1] *= 1e25
    gain = np.ones(2, np.float32)
    with np.errstate(over="ignore"):
        out, alone = (standardize_weight.plain(array, gain, eps=eps) for array in (beside, weight))
    assert np.array_equal(out[..., 0], alone[..., 0]) and np.allclose(out[..., 1], alone[..., 1], rtol=1e-5)
