"""Convolutions on rows of windows where they lie add up the same products as the formula, in another order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fast_paths import DTYPES, THREADS, expect_close, gemm_roundings, strided, with_threads

from nfnumpy.functional import convolution


@settings(max_examples=100)
@given(shape=st.tuples(st.integers(1, 3), st.integers(4, 9), st.integers(4, 9)),
       kernel=st.tuples(st.integers(1, 4), st.integers(2, 4)), groups=st.integers(1, 3), fan_in=st.integers(1, 3),
       outs=st.integers(1, 3), padding=st.sampled_from(["SAME", "VALID", 1, ((0, 1), (2, 0))]), biased=st.booleans(),
       dtype=DTYPES, count=THREADS, block_bytes=st.sampled_from([1, 300, 1 << 20]), rows=st.sampled_from([0, 8]),
       seed=st.integers(0, 2**32 - 1), way=st.sampled_from(["", "reversed", "every other", "transposed"]))
def test_all_three_ways_are_the_formulas_but_for_the_order_of_adding(
        shape, kernel, groups, fan_in, outs, padding, biased, dtype, count, block_bytes, rows, seed, way):
    draws, options = np.random.default_rng(seed), {"groups": groups, "padding": padding}
    x, weight, bias = (draws.standard_normal(size).astype(dtype) for size in (
        (*shape, groups * fan_in), (*kernel, fan_in, groups * outs), (groups * outs,)))
    x, weight, bias = strided(x, way), strided(weight, way), bias if biased else None

    def fast(function, *inputs):
        return with_threads(count, lambda: function(*inputs, **options), block_bytes, rows=rows, by_rows=True)

    sizes = [None if array is None else np.abs(array) for array in (x, weight, bias)]
    out = convolution.conv2d.formula(x, weight, bias, **options)
    expect_close(fast(convolution.conv2d, x, weight, bias), out, convolution.conv2d.formula(*sizes, **options),
                 gemm_roundings(*weight.shape[:3]))
    cotangent = strided(out, way)
    expect_close(fast(convolution.conv2d_x_vjp, cotangent, weight, x.shape),
                 convolution.conv2d_x_vjp.formula(cotangent, weight, x.shape, **options),
                 convolution.conv2d_x_vjp.formula(np.abs(out), sizes[1], x.shape, **options),
                 gemm_roundings(*kernel, groups * outs))
    expect_close(fast(convolution.conv2d_weight_vjp, cotangent, x, weight.shape),
                 convolution.conv2d_weight_vjp.formula(cotangent, x, weight.shape, **options),
                 convolution.conv2d_weight_vjp.formula(np.abs(out), sizes[0], weight.shape, **options),
                 gemm_roundings(*out.shape[:3]))


def test_what_is_beside_the_image_in_memory_has_no_part_in_it():
    """The thread's room for images is full of NaN from an earlier one, larger and without padding."""
    full = np.full((2, 12, 12, 3), np.nan)
    draws = np.random.default_rng(0)
    x, weight = draws.standard_normal((2, 5, 5, 3)), draws.standard_normal((3, 3, 3, 3))
    for image in (full, x):
        out, back = (with_threads(1, lambda: function(*inputs), 1 << 20, by_rows=True) for function, inputs in (
            (convolution.conv2d, (image, weight, None)),
            (convolution.conv2d_weight_vjp, (np.ones_like(image), image, weight.shape))))
    assert np.isfinite(out).all() and np.isfinite(back).all()
