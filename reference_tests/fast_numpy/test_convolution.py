"""Convolutions on threads are the formula but for the order of adding, whatever the blocks and the strategy."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nfnumpy import InputError
from nfnumpy.functional import convolution
from nfnumpy.functional.fast_numpy.convolution import gemm
from reference_tests.helpers import strategies
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

EVERYWHERE = {"IMPLICIT_FEWEST_CHANNELS": 1, "IMPLICIT_OUTPUTS_PER_TAP": 1}  # implicit im2col for any narrow groups
NOWHERE = {"IMPLICIT_CHANNELS": 0}


@settings(max_examples=100)
@given(problem=strategies.convolutions(), dtype=DTYPES, count=THREADS, block_bytes=st.sampled_from([1, 300, 1 << 20]),
       thread_sum=st.sampled_from([0, 1 << 20]), rows=st.sampled_from([1 << 20, 8]),
       implicit=st.sampled_from([EVERYWHERE, NOWHERE]), layout=LAYOUTS)
def test_convolutions_are_the_formulas_within_rounding(problem, dtype, count, block_bytes, thread_sum, rows, implicit,
                                                       layout):
    arrays = [None if array is None else in_layout(array.astype(dtype), layout) for array in problem.inputs]
    x, weight, bias = arrays
    magnitudes, options = [None if array is None else np.abs(array) for array in arrays], problem.options
    sizes = {"WINDOW_BLOCK_BYTES": block_bytes, "THREAD_SUM_BYTES": thread_sum, "PRODUCT_ROWS": rows, **implicit}

    out = convolution.conv2d.plain(x, weight, bias, **options)
    expect_close(with_threads(count, convolution.conv2d, x, weight, bias, sizes=sizes, **options), out,
                 gemm_roundings(*weight.shape[:3]), convolution.conv2d.plain(*magnitudes, **options))
    cotangent = in_layout(out, layout)
    expect_close(with_threads(count, convolution.conv2d_x_vjp, cotangent, weight, x.shape, sizes=sizes, **options),
                 convolution.conv2d_x_vjp.plain(cotangent, weight, x.shape, **options),
                 gemm_roundings(*weight.shape[:2], weight.shape[3]),
                 convolution.conv2d_x_vjp.plain(np.abs(out), magnitudes[1], x.shape, **options))
    expect_close(with_threads(count, convolution.conv2d_weight_vjp, cotangent, x, weight.shape, sizes=sizes, **options),
                 convolution.conv2d_weight_vjp.plain(cotangent, x, weight.shape, **options),
                 gemm_roundings(*out.shape[:3]),
                 convolution.conv2d_weight_vjp.plain(np.abs(out), magnitudes[0], weight.shape, **options))


@given(groups=st.integers(1, 3), sizes=st.tuples(st.integers(1, 40), st.integers(1, 5), st.integers(1, 5)),
       dtype=DTYPES, seed=strategies.seeds, transposed=st.booleans())
def test_products_cut_into_rows_are_the_whole_ones(groups, sizes, dtype, seed, transposed):
    """Each value is a sum of `inner` products; cut or not, it errs by at most (inner + 1)/2 eps of their magnitudes."""
    (rows, inner, columns), draws = sizes, np.random.default_rng(seed)
    left = draws.standard_normal((groups, rows, inner)).astype(dtype)
    right = draws.standard_normal((groups, inner, columns)).astype(dtype)
    right = np.ascontiguousarray(right.swapaxes(1, 2)).swapaxes(1, 2) if transposed else right
    into = np.empty((rows, groups, columns), dtype).transpose(1, 0, 2)
    with_threads(1, lambda: gemm.multiply(left, right, into))
    expect_close(into, left @ right, inner + 1, np.abs(left) @ np.abs(right))
    other, back = draws.standard_normal((groups, rows, columns)).astype(dtype), np.empty_like(right)
    with_threads(1, lambda: gemm.multiply_transposed(left, other, back))
    left = left.swapaxes(1, 2)
    expect_close(back, left @ other, rows + 1, np.abs(left) @ np.abs(other))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_same_number_of_threads_gives_the_same_bits(count):
    draws = np.random.default_rng(0)
    x, weight = (draws.standard_normal(shape, dtype=np.float32) for shape in ((7, 9, 9, 8), (3, 3, 4, 6)))
    out = convolution.conv2d(x, weight, None, groups=2)
    expect_same_bits(count, convolution.conv2d_weight_vjp, out, x, weight.shape, groups=2)


@pytest.mark.parametrize("x", [np.ones((2, 4, 4)), np.ones((2, 4, 4, 5))])
def test_mistakes_are_the_formulas_errors(x):
    with pytest.raises(InputError, match="conv2d"):
        convolution.conv2d(x, np.ones((3, 3, 3, 2)), None)
