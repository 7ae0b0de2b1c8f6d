"""Convolutions on rows of windows where they lie add up the same products as the formula, in another order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_tests.fast_numpy.test_fast_paths import (
    DTYPES,
    THREADS,
    expect_close,
    gemm_roundings,
    strided,
    with_threads,
)

from nfnumpy.functional import convolution
from nfnumpy.functional.fast_numpy.convolution import im2col, implicit_im2col

PADDINGS = st.sampled_from(["SAME", "VALID", 1, ((0, 1), (2, 0)), ((0, 5), (6, 1)), ((3, 0), (0, 7))])


def by_rows(count, function, block_bytes=300, rows=8, apart=False):
    """What `function()` returns on so many threads, with all its correlations of stride 1 on rows of windows.

    apart: whether each group of channels is a piece of work of its own.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(im2col, "NARROW", 0 if apart else im2col.NARROW)
        patch.setattr(implicit_im2col, "suits", lambda some, *_: some.step == some.spacing == (1, 1))
        return with_threads(count, function, block_bytes, rows=rows)


@settings(max_examples=200)
@given(shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
       kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)), groups=st.integers(1, 3), fan_in=st.integers(1, 9),
       outs=st.integers(1, 9), padding=PADDINGS, biased=st.booleans(), dtype=DTYPES, count=THREADS,
       block_bytes=st.sampled_from([1, 300, 3000, 1 << 20]), rows=st.sampled_from([0, 8]), apart=st.booleans(),
       seed=st.integers(0, 2**32 - 1), way=st.sampled_from(["", "reversed", "every other", "transposed"]))
def test_all_three_ways_are_the_formulas_but_for_the_order_of_adding(
        shape, kernel, groups, fan_in, outs, padding, biased, dtype, count, block_bytes, rows, apart, seed,
        way):
    """Up to 8 outputs a group (4 in float64) are computed two at a time: the zeros beside the kernel add nothing."""
    if padding == "VALID":
        shape = (shape[0], *(max(pair) for pair in zip(shape[1:], kernel)))
    elif padding != "SAME":
        shape = (shape[0], *(size + 4 for size in shape[1:]))
    draws, options = np.random.default_rng(seed), {"groups": groups, "padding": padding}
    x, weight, bias = (draws.standard_normal(size).astype(dtype) for size in (
        (*shape, groups * fan_in), (*kernel, fan_in, groups * outs), (groups * outs,)))
    x, weight, bias = strided(x, way), strided(weight, way), bias if biased else None

    def fast(function, *inputs):
        return by_rows(count, lambda: function(*inputs, **options), block_bytes, rows, apart)

    sizes = [None if array is None else np.abs(array) for array in (x, weight, bias)]
    out = convolution.conv2d.plain(x, weight, bias, **options)
    expect_close(fast(convolution.conv2d, x, weight, bias), out, convolution.conv2d.plain(*sizes, **options),
                 gemm_roundings(*weight.shape[:3]))
    cotangent = strided(out, way)
    expect_close(fast(convolution.conv2d_x_vjp, cotangent, weight, x.shape),
                 convolution.conv2d_x_vjp.plain(cotangent, weight, x.shape, **options),
                 convolution.conv2d_x_vjp.plain(np.abs(out), sizes[1], x.shape, **options),
                 gemm_roundings(*kernel, groups * outs))
    expect_close(fast(convolution.conv2d_weight_vjp, cotangent, x, weight.shape),
                 convolution.conv2d_weight_vjp.plain(cotangent, x, weight.shape, **options),
                 convolution.conv2d_weight_vjp.plain(np.abs(out), sizes[0], weight.shape, **options),
                 gemm_roundings(*out.shape[:3]))


@pytest.mark.parametrize("channels", [3, 9])
def test_what_is_beside_the_image_in_memory_has_no_part_in_it(channels):
    """The thread's room for images is full of NaN from an earlier one, larger and without padding."""
    full = np.full((2, 12, 12, channels), np.nan)
    draws = np.random.default_rng(0)
    x, weight = draws.standard_normal((2, 5, 5, channels)), draws.standard_normal((3, 3, channels, channels))
    for image in (full, x):
        out, back = (by_rows(1, lambda: function(*inputs), 1 << 20) for function, inputs in (
            (convolution.conv2d, (image, weight, None)),
            (convolution.conv2d_weight_vjp, (np.ones_like(image), image, weight.shape))))
    assert np.isfinite(out).all() and np.isfinite(back).all()


@given(count=THREADS, groups=st.integers(1, 3), outs=st.sampled_from([4, 12]), images=st.integers(1, 5),
       seed=st.integers(0, 2**32 - 1))
def test_the_same_number_of_threads_gives_the_same_bits(count, groups, outs, images, seed):
    draws = np.random.default_rng(seed)
    x, weight, cotangent = (draws.standard_normal(shape, dtype=np.float32) for shape in (
        (images, 7, 9, groups * 8), (3, 3, 8, groups * outs), (images, 7, 9, groups * outs)))
    for function, inputs in ((convolution.conv2d, (x, weight, None)),
                             (convolution.conv2d_x_vjp, (cotangent, weight, x.shape)),
                             (convolution.conv2d_weight_vjp, (cotangent, x, weight.shape))):
        first, second = (by_rows(count, lambda: function(*inputs, groups=groups)) for _ in range(2))
        assert np.array_equal(first, second)


def test_the_rule_takes_few_channels_on_maps_that_are_wider_than_their_frame():
    def suits(fan_in, outs, dtype=np.float32, taps=3, step=1, spacing=1, size=8):
        pair = [(number, number) for number in (taps, step, spacing, taps // 2, size)]
        return implicit_im2col.suits(im2col.Correlation(*pair), fan_in, outs, np.dtype(dtype))

    assert all(suits(*channels) for channels in [(8, 8), (8, 16), (16, 8), (16, 16), (31, 64), (3, 8), (6, 16)])
    assert not any(suits(*channels) for channels in [(32, 8), (32, 32), (2, 8), (3, 24), (5, 16)])
    assert suits(3, 4, np.float64) and not suits(3, 8, np.float64)
    assert suits(8, 8, taps=2) and not suits(8, 8, taps=1)
    assert suits(8, 8, size=6) and not suits(8, 8, size=5) and not suits(8, 8, taps=5)
    assert not suits(8, 8, step=2) and not suits(8, 8, spacing=2)
