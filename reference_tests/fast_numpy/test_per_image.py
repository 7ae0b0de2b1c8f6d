"""Residual updates, squeeze-and-excite, linear, stochastic depth and sums over pixels are their formulas on threads."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as shapes_of

from nfnumpy import InputError
from nfnumpy.functional.arithmetic import add
from nfnumpy.functional.dropout import stochastic_depth
from nfnumpy.functional.linear import bias_vjp, linear, linear_weight_vjp, linear_x_vjp
from nfnumpy.functional.pooling import global_mean
from nfnumpy.functional.residual import skip_init, skip_init_residual_vjp, skip_init_skip_gain_vjp
from nfnumpy.functional.squeeze_excite import squeeze_excite, squeeze_excite_vjp
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


@st.composite
def pairs(draw, min_dims=1, max_dims=4, min_side=0):
    """Two arrays of one shape and dtype, each in a layout of its own."""
    shape = draw(shapes_of.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=5))
    draws, dtype = np.random.default_rng(draw(seeds)), draw(DTYPES)
    return [in_layout(draws.standard_normal(shape).astype(dtype), draw(LAYOUTS)) for _ in range(2)]


@given(arrays=pairs(), gain=st.floats(-2, 2, width=32), count=THREADS)
def test_the_residual_update_and_its_gradients_are_the_formulas(arrays, gain, count):
    """Bit for bit, but for the order in which the n products of the gain's derivative are added: n roundings each."""
    shortcut, residual = arrays
    gain = np.asarray(gain, dtype=shortcut.dtype)
    expect_close(with_threads(count, skip_init, shortcut, residual, gain, alpha=0.2),
                 skip_init.plain(shortcut, residual, gain, alpha=0.2), 0, 1.0)
    expect_close(with_threads(count, skip_init_residual_vjp, residual, gain, alpha=0.2),
                 np.asarray(skip_init_residual_vjp.plain(residual, gain, alpha=0.2)), 0, 1.0)
    expect_close(with_threads(count, add, shortcut, residual), add.plain(shortcut, residual), 0, 1.0)
    expect_close(np.asarray(with_threads(count, skip_init_skip_gain_vjp, shortcut, residual, alpha=0.2)),
                 np.asarray(skip_init_skip_gain_vjp.plain(shortcut, residual, alpha=0.2)), 3 + shortcut.size,
                 0.2 * np.abs(shortcut * residual).sum())
    expect_same_bits(count, skip_init_skip_gain_vjp, shortcut, residual, alpha=0.2)


@given(sizes=st.tuples(*[st.integers(1, 7)] * 3), dtype=DTYPES, layout=LAYOUTS, seed=seeds, biased=st.booleans(),
       count=THREADS)
def test_products_with_a_weight_are_the_formulas_within_rounding(
        sizes, dtype, layout, seed, biased, count):
    """A sum of n products, and a bias, in two orders: n + 1 roundings of half an eps each way."""
    (rows, inputs, outputs), draws = sizes, np.random.default_rng(seed)
    x, weight, bias, cotangent = (in_layout(draws.standard_normal(shape).astype(dtype), layout) for shape in (
        (rows, inputs), (inputs, outputs), (outputs,), (rows, outputs)))
    bias = bias if biased else None
    expect_close(with_threads(count, linear, x, weight, bias), linear.plain(x, weight, bias), inputs + 1,
                 np.abs(x) @ np.abs(weight) + (0 if bias is None else np.abs(bias)))
    expect_close(with_threads(count, linear_x_vjp, cotangent, weight), linear_x_vjp.plain(cotangent, weight),
                 outputs, np.abs(cotangent) @ np.abs(weight).T)
    expect_close(with_threads(count, linear_weight_vjp, cotangent, x), linear_weight_vjp.plain(cotangent, x), rows,
                 np.abs(x).T @ np.abs(cotangent))


@pytest.mark.parametrize("alpha", [np.float64(0.2), np.float32(0.2), 0.2, 2])
def test_a_residual_update_has_the_dtype_that_alpha_gives_the_formula(alpha):
    x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4)
    gain = np.asarray(np.float32(0.7))
    for function, arrays in ((skip_init, (x, x[::-1], gain)), (skip_init_residual_vjp, (x, gain)),
                             (skip_init_skip_gain_vjp, (x, x[::-1]))):
        found, expected = with_threads(2, function, *arrays, alpha=alpha), function.plain(*arrays, alpha=alpha)
        # Up to 24 products of numbers up to 1 are added up in any order, each of three factors.
        assert found.dtype == expected.dtype
        assert np.all(np.abs(found - expected) <= 24 * (24 + 3) * np.finfo(np.float32).eps)


@given(arrays=pairs(), kept=st.integers(0, 31), rescale=st.booleans(), count=THREADS)
def test_stochastic_depth_is_the_formula_bit_for_bit(arrays, kept, rescale, count):
    x = arrays[0]
    mask = np.asarray([kept >> n & 1 for n in range(len(x))], dtype=x.dtype).reshape(-1, *(1 for _ in x.shape[1:]))
    expect_close(with_threads(count, stochastic_depth, x, mask, rate=0.3, rescale=rescale),
                 stochastic_depth.plain(x, mask, rate=0.3, rescale=rescale), 0, 1.0)


@given(arrays=pairs(min_dims=4, min_side=1), count=THREADS)
def test_sums_over_pixels_are_the_formulas_within_rounding(arrays, count):
    x = arrays[0]
    expect_close(with_threads(count, global_mean, x), global_mean.plain(x), 2 + x[0, ..., 0].size,
                 np.abs(x).mean(axis=(1, 2)))
    expect_close(with_threads(count, bias_vjp, x), bias_vjp.plain(x), 2 + x[..., 0].size,
                 np.abs(x).sum(axis=(0, 1, 2)))
    expect_same_bits(count, bias_vjp, x)


@st.composite
def excitations(draw):
    """(cotangent, x, weight0, bias0, weight1, bias1), whose hidden units are 1/2 off their kink: see strategies.py."""
    cotangent, x = draw(pairs(min_dims=4, min_side=1))
    channels, hidden, draws = x.shape[3], draw(st.integers(1, 3)), np.random.default_rng(draw(seeds))
    x = np.clip(x, -1, 1)
    arrays = (draws.uniform(-1, 1, (channels, hidden)) / channels, draws.choice([-1.5, 1.5], hidden),
              draws.standard_normal((hidden, channels)), draws.standard_normal(channels))
    return cotangent, x, *(array.astype(x.dtype) for array in arrays)


EXCITE_OPTIONS = st.fixed_dictionaries({"activation": st.sampled_from(["relu", "silu", "tanh"]),
                                        "scale": st.sampled_from([2.0, 1.0])})


@given(arrays=excitations(), options=EXCITE_OPTIONS, count=THREADS)
def test_squeeze_excite_is_the_formula_within_rounding(arrays, options, count):
    """The means of P pixels err by P + 2 roundings; the gates, at most 2, by as many of the sums behind them.

    |hidden| ≤ 5/2, so sums of |hidden·weight1| bound these; a sigmoid and its derivative pass on less than they get.
    """
    _, x, weight0, _, weight1, bias1 = arrays
    roundings = x[0, ..., 0].size + weight0.size + 16
    size = 1 + 2.5 * np.abs(weight1).sum(axis=0) + np.abs(bias1)
    expect_close(with_threads(count, squeeze_excite, *arrays[1:], **options),
                 squeeze_excite.plain(*arrays[1:], **options), roundings, 2 * np.abs(x) * size)


@given(arrays=excitations(), options=EXCITE_OPTIONS, count=THREADS)
def test_squeeze_excite_vjp_is_the_formula_within_rounding(arrays, options, count):
    """As above; a batch's sums add N roundings, and the gradient through both weights is bounded by their sums.

    No slope of a nonlinearity here is above 1.1, which 32 in place of 28 roundings beside the sums covers.
    """
    cotangent, x, weight0, _, weight1, bias1 = arrays
    roundings = x[..., 0].size + x.shape[3] + weight0.size + 32
    size = 1 + 2.5 * np.abs(weight1).sum() + np.abs(bias1).sum()
    largest = size * (np.abs(cotangent).max() + np.abs(cotangent * x).sum() * (3 + np.abs(weight1).sum()))
    fast = with_threads(count, squeeze_excite_vjp, *arrays, **options)
    for one, other in zip(fast, squeeze_excite_vjp.plain(*arrays, **options), strict=True):
        expect_close(one, other, roundings, largest)
    expect_same_bits(count, squeeze_excite_vjp, *arrays, **options)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_infinities_and_nan_are_where_the_formula_has_them(bad):
    draws = np.random.default_rng(0)
    x, other = draws.standard_normal((2, 3, 3, 4, 5))
    x[1, 2, 0, 3] = bad
    gain, mask = np.asarray(0.5), np.asarray([1.0, 0.0, 1.0][:len(x)]).reshape(-1, 1, 1, 1)
    weights = draws.standard_normal((5, 2)), draws.standard_normal(2), draws.standard_normal((2, 5)), np.zeros(5)
    for function, arrays, options in (
            (skip_init, (other, x, gain), {"alpha": 0.2}), (skip_init_skip_gain_vjp, (x, other), {"alpha": 0.2}),
            (stochastic_depth, (x, 1 - mask), {"rate": 0.5}),
            (global_mean, (x,), {}), (bias_vjp, (x,), {}), (squeeze_excite, (x, *weights), {})):
        with np.errstate(invalid="ignore"):
            fast, formula = with_threads(2, function, *arrays, **options), function.plain(*arrays, **options)
        assert all(np.array_equal(judge(fast), judge(formula)) for judge in (np.isnan, np.isposinf))


def test_mistakes_are_the_formulas_errors():
    image, one = np.ones((2, 3, 3, 4)), np.ones(())
    with pytest.raises(InputError, match="skip_init"):
        with_threads(2, skip_init, image, image[:1], one, alpha=0.2)
    with pytest.raises(InputError, match="stochastic_depth"):
        with_threads(2, stochastic_depth, image, np.ones((2, 1)), rate=0.5)
    with pytest.raises(InputError, match="drop rate"):
        with_threads(2, stochastic_depth, image, np.ones((2, 1, 1, 1)), rate=1.0, rescale=True)
    with pytest.raises(InputError, match="squeeze_excite"):
        with_threads(2, squeeze_excite, image, np.ones((4, 2)), np.ones(2), np.ones((3, 4)), np.ones(4))
    with pytest.raises(InputError, match="squeeze_excite"):
        with_threads(2, squeeze_excite, image, np.ones((3, 2)), np.ones(2), np.ones((2, 3)), np.ones(3))
    with pytest.raises(InputError, match="global_mean"):
        with_threads(2, global_mean, image[0])
