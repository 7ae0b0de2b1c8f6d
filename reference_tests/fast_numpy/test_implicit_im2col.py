"""Implicit im2col adds up the same products as the formula, in another order."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nfnumpy.functional import convolution
from nfnumpy.functional.fast_numpy.convolution import implicit_im2col
from reference_tests.helpers.fast_paths import (
    DTYPES,
    LAYOUTS,
    THREADS,
    expect_close,
    expect_same_bits,
    gemm_roundings,
    in_layout,
    with_threads,
)
from reference_tests.helpers.strategies import seeds

PADDINGS = st.sampled_from(["SAME", "VALID", 1, ((0, 1), (2, 0)), ((0, 5), (6, 1)), ((3, 0), (0, 7))])


@pytest.fixture(autouse=True, scope="module")
def chosen_for_any_shape():
    """All correlations of stride 1 with dense outputs go this way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(implicit_im2col, "suits", lambda problem: problem.dense and problem.windows.stride == (1, 1)
                      and problem.windows.dilation == (1, 1))
        yield


@settings(max_examples=200)
@given(shape=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
       kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)), groups=st.integers(1, 3), fan_in=st.integers(1, 9),
       outs=st.integers(1, 9), padding=PADDINGS, biased=st.booleans(), dtype=DTYPES, count=THREADS,
       block_bytes=st.sampled_from([1, 300, 3000, 1 << 20]), rows=st.sampled_from([1 << 20, 8]), apart=st.booleans(),
       seed=seeds, layout=LAYOUTS)
def test_all_three_products_are_the_formulas_within_rounding(
        shape, kernel, groups, fan_in, outs, padding, biased, dtype, count, block_bytes, rows, apart, seed, layout):
    """Up to 8 outputs a group (4 in float64) are computed two at a time: the zeros beside the kernel add nothing.

    apart: each group of channels is a piece of work of its own.
    """
    if padding == "VALID":
        shape = (shape[0], *(max(pair) for pair in zip(shape[1:], kernel, strict=True)))
    elif padding != "SAME":
        shape = (shape[0], *(size + 4 for size in shape[1:]))
    draws, options = np.random.default_rng(seed), {"groups": groups, "padding": padding}
    x, weight, bias = (draws.standard_normal(size).astype(dtype) for size in (
        (*shape, groups * fan_in), (*kernel, fan_in, groups * outs), (groups * outs,)))
    x, weight, bias = in_layout(x, layout), in_layout(weight, layout), bias if biased else None
    sizes = {"WINDOW_BLOCK_BYTES": block_bytes, "PRODUCT_ROWS": rows, "GROUPED_CHANNELS": 0 if apart else 64}

    magnitudes = [None if array is None else np.abs(array) for array in (x, weight, bias)]
    out = convolution.conv2d.plain(x, weight, bias, **options)
    expect_close(with_threads(count, convolution.conv2d, x, weight, bias, sizes=sizes, **options), out,
                 gemm_roundings(*weight.shape[:3]), convolution.conv2d.plain(*magnitudes, **options))
    cotangent = in_layout(out, layout)
    expect_close(with_threads(count, convolution.conv2d_x_vjp, cotangent, weight, x.shape, sizes=sizes, **options),
                 convolution.conv2d_x_vjp.plain(cotangent, weight, x.shape, **options),
                 gemm_roundings(*kernel, groups * outs),
                 convolution.conv2d_x_vjp.plain(np.abs(out), magnitudes[1], x.shape, **options))
    expect_close(with_threads(count, convolution.conv2d_weight_vjp, cotangent, x, weight.shape, sizes=sizes, **options),
                 convolution.conv2d_weight_vjp.plain(cotangent, x, weight.shape, **options),
                 gemm_roundings(*out.shape[:3]),
                 convolution.conv2d_weight_vjp.plain(np.abs(out), magnitudes[0], weight.shape, **options))


@pytest.mark.parametrize("channels", [3, 9])
def test_memory_beside_the_image_has_no_part_in_the_result(channels):
    """The scratch buffer is full of NaN from an earlier image, larger and without padding."""
    full = np.full((2, 12, 12, channels), np.nan)
    draws = np.random.default_rng(0)
    x, weight = draws.standard_normal((2, 5, 5, channels)), draws.standard_normal((3, 3, channels, channels))
    sizes = {"WINDOW_BLOCK_BYTES": 1 << 20}
    for image in (full, x):
        out = with_threads(1, convolution.conv2d, image, weight, None, sizes=sizes)
        back = with_threads(1, convolution.conv2d_weight_vjp, np.ones_like(image), image, weight.shape, sizes=sizes)
    assert np.isfinite(out).all() and np.isfinite(back).all()


@given(count=THREADS, groups=st.integers(1, 3), outs=st.sampled_from([4, 12]), images=st.integers(1, 4), seed=seeds)
def test_the_same_number_of_threads_gives_the_same_bits(count, groups, outs, images, seed):
    draws = np.random.default_rng(seed)
    x, weight, cotangent = (draws.standard_normal(shape, dtype=np.float32) for shape in (
        (images, 5, 7, groups * 8), (3, 3, 8, groups * outs), (images, 5, 7, groups * outs)))
    expect_same_bits(count, convolution.conv2d, x, weight, None, groups=groups)
    expect_same_bits(count, convolution.conv2d_x_vjp, cotangent, weight, x.shape, groups=groups)
    expect_same_bits(count, convolution.conv2d_weight_vjp, cotangent, x, weight.shape, groups=groups)
