"""Pooling image by image is its formula, on any number of threads; the gradient of an average bit for bit."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import InputError
from nfnumpy.functional.checks import pair
from nfnumpy.functional.pooling import avg_pool, avg_pool_vjp, max_pool, max_pool_vjp
from reference_tests.helpers import strategies
from reference_tests.helpers.fast_paths import DTYPES, LAYOUTS, THREADS, expect_close, in_layout, with_threads


def with_ties(random, shape):
    return random.integers(-2, 3, shape).astype(np.float64)


@given(problem=strategies.pools(strategies.normal, min_batch=0), dtype=DTYPES, layout=LAYOUTS, count=THREADS)
def test_average_pooling_is_the_formula_within_rounding(
        problem, dtype, layout, count):
    """A sum of as many pixels as a window sees errs by half a rounding of their magnitudes for each, in any order."""
    x, options = in_layout(problem.inputs[0].astype(dtype), layout), problem.options
    out = avg_pool.plain(x, **options)
    taps = int(np.prod(pair(options["window"], "window")))
    expect_close(with_threads(count, avg_pool, x, **options), out, taps, avg_pool.plain(np.abs(x), **options))
    cotangent = in_layout(out, layout)
    expect_close(with_threads(count, avg_pool_vjp, cotangent, x_shape=x.shape, **options),
                 avg_pool_vjp.plain(cotangent, x.shape, **options), 0, 1.0)


@given(problem=st.one_of(strategies.pools(strategies.normal, min_batch=0), strategies.pools(with_ties)), dtype=DTYPES,
       layout=LAYOUTS, count=THREADS)
def test_max_pooling_and_its_gradient_are_the_formulas_bits(problem, dtype, layout, count):
    x, options = in_layout(problem.inputs[0].astype(dtype), layout), problem.options
    out = max_pool.plain(x, **options)
    expect_close(with_threads(count, max_pool, x, **options), out, 0, 1.0)
    cotangent = in_layout(np.cos(out), layout)
    expect_close(with_threads(count, max_pool_vjp, cotangent, x, out, **options),
                 max_pool_vjp.plain(cotangent, x, out, **options), 0, 1.0)


@given(images=st.integers(1, 3), tiles=st.tuples(st.integers(1, 4), st.integers(1, 4)), channels=st.integers(1, 5),
       window=st.tuples(st.integers(1, 3), st.integers(1, 3)), dtype=DTYPES, layout=LAYOUTS, count=THREADS,
       padding=st.sampled_from(["SAME", "VALID"]), seed=strategies.seeds)
def test_tiles_are_pooled_by_rows_of_pixels(images, tiles, channels, window, dtype, layout, count,
                                                           padding, seed):
    shape = (images, *(some * size for some, size in zip(tiles, window, strict=True)), channels)
    x = in_layout(np.random.default_rng(seed).standard_normal(shape).astype(dtype), layout)
    options = {"window": window, "stride": window, "padding": padding}
    out = avg_pool.plain(x, **options)
    expect_close(with_threads(count, avg_pool, x, **options), out, int(np.prod(window)),
                 avg_pool.plain(np.abs(x), **options))
    cotangent = in_layout(out, layout)
    expect_close(with_threads(count, avg_pool_vjp, cotangent, x_shape=x.shape, **options),
                 avg_pool_vjp.plain(cotangent, x.shape, **options), 0, 1.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_infinities_and_nan_are_where_the_formula_has_them(bad):
    x = np.random.default_rng(0).standard_normal((2, 5, 5, 3))
    x[1, 2, 2, 0] = bad
    with np.errstate(invalid="ignore"):
        for pool, vjp, shape in ((avg_pool, avg_pool_vjp, (x.shape,)), (max_pool, max_pool_vjp, ())):
            out, options = pool.plain(x, window=3, stride=2), {"window": 3, "stride": 2}
            assert np.array_equal(with_threads(2, pool, x, **options), out, equal_nan=True)
            inputs = (out, *shape) if shape else (out, x, out)
            assert np.array_equal(with_threads(2, vjp, *inputs, **options), vjp.plain(*inputs, **options),
                                  equal_nan=True)


def test_mistakes_are_the_formulas_errors():
    with pytest.raises(InputError, match="pooling"):
        with_threads(2, max_pool, np.ones((3, 3, 2)), window=2)
    with pytest.raises(InputError, match="stride"):
        with_threads(2, avg_pool, np.ones((1, 3, 3, 2)), window=2, stride=0)
