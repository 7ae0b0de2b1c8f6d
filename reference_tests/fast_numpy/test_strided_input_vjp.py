"""The way back through a strided convolution with all lattices of pixels at once adds up what the formula does."""

import numpy as np
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
from nfnumpy.functional.fast_numpy.convolution import strided_input_vjp

LAYOUTS = st.sampled_from(["", "reversed", "every other", "transposed"])


@settings(max_examples=100)
@given(images=st.integers(1, 3), squares=st.tuples(st.integers(1, 4), st.integers(1, 4)),
       stride=st.sampled_from([(2, 2), (3, 2), (1, 2), (2, 1), (3, 3)]),
       kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)), frame=st.tuples(*[st.integers(0, 1)] * 4),
       groups=st.integers(1, 3), fan_in=st.integers(1, 3), outs=st.integers(1, 3), dtype=DTYPES, count=THREADS,
       block_bytes=st.sampled_from([1, 300, 1 << 20]), rows=st.sampled_from([0, 8]), seed=st.integers(0, 2**32 - 1),
       way=LAYOUTS)
def test_images_of_whole_squares_are_the_formulas_but_for_the_order_of_adding(
        images, squares, stride, kernel, frame, groups, fan_in, outs, dtype, count, block_bytes, rows, seed, way):
    """A value is at most kh·kw·O/groups products added up; those with the zeros of the matrix add nothing."""
    size = [some * step for some, step in zip(squares, stride)]
    padding = tuple((frame[axis] * stride[axis], max(frame[2 + axis], kernel[axis] - size[axis])) for axis in (0, 1))
    options = {"stride": stride, "padding": padding, "groups": groups}
    x_shape, weight_shape = (images, *size, groups * fan_in), (*kernel, fan_in, groups * outs)
    seen = convolution.conv2d_windows(x_shape, weight_shape, **options)
    assert strided_input_vjp.suits(seen, x_shape, weight_shape, groups)
    draws = np.random.default_rng(seed)
    weight = strided(draws.standard_normal(weight_shape).astype(dtype), way)
    cotangent = strided(draws.standard_normal((images, *seen.out, groups * outs)).astype(dtype), way)
    back = with_threads(count, lambda: convolution.conv2d_x_vjp(cotangent, weight, x_shape, **options), block_bytes,
                        rows=rows)
    expect_close(back, convolution.conv2d_x_vjp.plain(cotangent, weight, x_shape, **options),
                 convolution.conv2d_x_vjp.plain(np.abs(cotangent), np.abs(weight), x_shape, **options),
                 gemm_roundings(*kernel, outs))


@given(size=st.integers(3, 9), stride=st.integers(1, 3), padding=st.integers(0, 2), fan_in=st.sampled_from([4, 16, 17]),
       dilation=st.integers(1, 2))
def test_the_rule_takes_narrow_groups_and_whole_squares_only(size, stride, padding, fan_in, dilation):
    shapes = (1, size, size, 2 * fan_in), (3, 3, fan_in, 2)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": 2}
    if size + 2 * padding < 2 * dilation + 1:
        return
    seen = convolution.conv2d_windows(*shapes, **options)
    assert strided_input_vjp.suits(seen, *shapes, 2) == (
        stride > 1 and dilation == 1 and fan_in <= 16 and size % stride == 0 and padding % stride == 0)
