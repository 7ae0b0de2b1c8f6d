"""The input gradient of a strided convolution, all phases in one product, adds up what the formula does."""

import numpy as np
from hypothesis import given, settings, strategies as st

from nfnumpy.functional import convolution
from nfnumpy.functional.fast_numpy import convolution as fast_convolution
from reference_tests.helpers.fast_paths import (
    DTYPES,
    LAYOUTS,
    THREADS,
    expect_close,
    gemm_roundings,
    in_layout,
    with_threads,
)
from reference_tests.helpers.strategies import seeds


@settings(max_examples=100)
@given(images=st.integers(1, 2), squares=st.tuples(st.integers(1, 3), st.integers(1, 3)),
       stride=st.sampled_from([(2, 2), (3, 2), (1, 2), (2, 1), (3, 3)]),
       kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)), frame=st.tuples(*[st.integers(0, 1)] * 4),
       groups=st.integers(1, 3), fan_in=st.integers(1, 3), outs=st.integers(1, 3), dtype=DTYPES, count=THREADS,
       block_bytes=st.sampled_from([1, 300, 1 << 20]), rows=st.sampled_from([1 << 20, 8]), seed=seeds, layout=LAYOUTS)
def test_whole_squares_are_the_formulas_within_rounding(
        images, squares, stride, kernel, frame, groups, fan_in, outs, dtype, count, block_bytes, rows, seed, layout):
    """A value is at most kh·kw·O/groups products added up; those with the zeros of the matrix add nothing."""
    size = [some * step for some, step in zip(squares, stride, strict=True)]
    padding = tuple((frame[axis] * stride[axis], max(frame[2 + axis], kernel[axis] - size[axis])) for axis in (0, 1))
    options = {"stride": stride, "padding": padding, "groups": groups}
    x_shape, weight_shape = (images, *size, groups * fan_in), (*kernel, fan_in, groups * outs)
    seen = convolution.conv2d_windows(x_shape, weight_shape, **options)
    draws = np.random.default_rng(seed)
    weight = in_layout(draws.standard_normal(weight_shape).astype(dtype), layout)
    cotangent = in_layout(draws.standard_normal((images, *seen.out, groups * outs)).astype(dtype), layout)
    back = with_threads(count, convolution.conv2d_x_vjp, cotangent, weight, x_shape,
                        sizes={"WINDOW_BLOCK_BYTES": block_bytes, "PRODUCT_ROWS": rows}, **options)
    expect_close(back, convolution.conv2d_x_vjp.plain(cotangent, weight, x_shape, **options),
                 gemm_roundings(*kernel, outs),
                 convolution.conv2d_x_vjp.plain(np.abs(cotangent), np.abs(weight), x_shape, **options))


def test_narrow_groups_are_computed_in_one_product(monkeypatch):
    """Without this the property above would also hold for the phases one by one."""
    monkeypatch.setattr(fast_convolution, "_x_vjp_by_phase", None)
    back = convolution.conv2d_x_vjp(np.ones((1, 4, 4, 8)), np.ones((3, 3, 4, 8)), (1, 8, 8, 8), stride=2, groups=2)
    assert back.shape == (1, 8, 8, 8)
