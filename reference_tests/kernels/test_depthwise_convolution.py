"""Depthwise convolutions on CuPy, compared with the formula in exact arithmetic.

Inputs are small whole numbers, so that every sum is exact in the type that kernels compute in: what they give is the
exact value, rounded to its dtype where it is stored, whatever the order of adding.
"""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from nfnumpy.backend import to_host
from nfnumpy.functional import convolution as formulas
from nfnumpy.functional.fast_cupy import depthwise_convolution as fast
from reference_tests.helpers.on_gpu import ANY_DTYPE, DTYPES, bits_in_all_orders, expect, launched, normal, put, whole
from reference_tests.helpers.strategies import fits, paddings, positive_pairs

KERNELS = st.one_of(st.sampled_from([(3, 3), (5, 5), (7, 7)]), st.tuples(st.integers(1, 5), st.sampled_from([1, 3, 5])),
                    st.tuples(st.integers(1, 4), st.integers(1, 4)))
STRIDES = st.one_of(st.sampled_from([1, 2]), positive_pairs(3))


@st.composite
def problems(draw):
    """(x shape, weight shape, options): channels that fill 16 bytes and channels that do not, at every geometry."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9),
                           st.sampled_from([2, 3, 4, 5, 8, 8, 16, 24])))
    kernel = draw(KERNELS)
    padding = draw(paddings().filter(lambda padding: fits(shape[1:3], kernel, (1, 1), padding)))
    return shape, (*kernel, 1, shape[3]), {"stride": draw(STRIDES), "padding": padding, "groups": shape[3]}


def problem(shape, side, **options):
    return shape, (side, side, 1, shape[3]), {"stride": 1, "padding": "SAME", "groups": shape[3], **options}


WIDE = problem((2, 3, 41, 72), 3)  # blocks of channels, of columns
WIDE_STRIDED = problem((2, 19, 41, 72), 5, stride=2)  # and of rows
FRAMED = problem((2, 5, 9, 16), 5, stride=2, padding=((4, 1), (3, 2)))
MANY_TAPS = problem((1, 4, 4, 33), 7)  # blocks of taps
SMALL = problem((3, 2, 2, 8), 5, padding=2)
OBLONG = (1, 5, 6, 8), (3, 2, 1, 8), {"stride": (1, 3), "padding": "SAME", "groups": 8}


def everywhere(test):
    for one in (WIDE, WIDE_STRIDED, FRAMED, MANY_TAPS, SMALL, OBLONG):
        for dtype in (np.float32, np.float16):
            test = example(problem=one, dtype=dtype, misaligned=False)(test)
    return given(problem=problems(), dtype=ANY_DTYPE, misaligned=st.booleans())(test)


def out_shape_of(x_shape, weight_shape, options):
    windows = formulas.conv2d_windows(x_shape, weight_shape, **options)
    return x_shape[0], *windows.out, weight_shape[3]


def as_exact(function, dtype, *arguments, **options):
    """What the formula gives in float64, rounded once."""
    return function.plain(*(a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in arguments),
                          **options).astype(dtype)


@everywhere
def test_outputs_are_exact_sums(problem, dtype, misaligned):
    x_shape, weight_shape, options = problem
    x, weight = whole(x_shape, dtype), whole(weight_shape, dtype, seed=1)
    expect(formulas.conv2d(put(x, misaligned), put(weight), **options),
           as_exact(formulas.conv2d, dtype, x, weight, **options))


@everywhere
def test_every_pixel_receives_the_exact_sum_over_the_outputs_that_see_it(problem, dtype, misaligned):
    x_shape, weight_shape, options = problem
    cotangent, weight = whole(out_shape_of(*problem), dtype), whole(weight_shape, dtype, seed=1)
    expect(formulas.conv2d_x_vjp(put(cotangent), put(weight, misaligned), x_shape, **options),
           as_exact(formulas.conv2d_x_vjp, dtype, cotangent, weight, x_shape, **options))


@everywhere
def test_the_weights_gradient_is_the_exact_sum_over_all_positions(problem, dtype, misaligned):
    """Numbers up to 16: in halves the sums would not survive a rounding on the way."""
    x_shape, weight_shape, options = problem
    x, cotangent = whole(x_shape, dtype, high=16), whole(out_shape_of(*problem), dtype, seed=1, high=16)
    expect(formulas.conv2d_weight_vjp(put(cotangent, misaligned), put(x), weight_shape, **options),
           as_exact(formulas.conv2d_weight_vjp, dtype, cotangent, x, weight_shape, **options))


@pytest.mark.parametrize("few", [1, 4, 512])
def test_so_it_is_however_many_blocks_divide_the_positions(monkeypatch, few):
    monkeypatch.setattr(fast, "ENOUGH_BLOCKS", few)
    monkeypatch.setattr(fast, "RUNS_TO_ADD", 1)
    x_shape, weight_shape, options = WIDE_STRIDED
    x, cotangent = whole(x_shape, np.float32), whole(out_shape_of(*WIDE_STRIDED), np.float32, seed=1)
    expect(formulas.conv2d_weight_vjp(put(cotangent), put(x), weight_shape, **options),
           as_exact(formulas.conv2d_weight_vjp, np.float32, cotangent, x, weight_shape, **options))


@pytest.mark.parametrize("dtype, start", [(np.float16, 2048), (ml_dtypes.bfloat16, 256)])
@pytest.mark.parametrize("channels", [3, 8])
def test_half_precision_rounds_sums_and_not_their_terms(dtype, start, channels):
    """2048 + 1 is 2048 in float16, as is 256 + 1 in bfloat16: added in sequence, ones would get lost."""
    x, weight = np.ones((1, 3, 3, channels), dtype), np.ones((3, 3, 1, channels), dtype)
    x[0, 0, 0] = start
    options = {"groups": channels}
    exact = np.float64(start + 8).astype(dtype)
    assert exact != start
    assert np.all(to_host(formulas.conv2d(put(x), put(weight), **options))[0, 1, 1] == exact)
    assert np.all(to_host(formulas.conv2d_x_vjp(put(x), put(weight), x.shape, **options))[0, 1, 1] == exact)
    back = formulas.conv2d_weight_vjp(put(np.ones_like(x)), put(x), weight.shape, **options)
    assert np.all(to_host(back)[1, 1] == exact)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("problem", [WIDE_STRIDED, MANY_TAPS])
def test_every_order_of_threads_gives_the_same_bits(dtype, problem):
    x_shape, weight_shape, options = problem
    x, weight = put(normal(x_shape, dtype)), put(normal(weight_shape, dtype, seed=1))
    cotangent = put(normal(out_shape_of(*problem), dtype, seed=2))
    assert len(bits_in_all_orders(lambda: (
        formulas.conv2d(x, weight, **options), formulas.conv2d_x_vjp(cotangent, weight, x_shape, **options),
        formulas.conv2d_weight_vjp(cotangent, x, weight_shape, **options)))) == 1


@pytest.mark.parametrize("transposed", [False, True])
def test_there_are_no_patches_and_a_bias_is_added(transposed):
    (x_shape, weight_shape, options), dtype = SMALL, np.float32
    x, weight, bias = whole(x_shape, dtype), whole(weight_shape, dtype, seed=1), whole((8,), dtype, seed=2)
    given_x, given_weight, given_bias = put(x, transposed=transposed), put(weight), put(bias)
    expect(formulas.conv2d(given_x, given_weight, given_bias, **options),
           as_exact(formulas.conv2d, dtype, x, weight, bias, **options))
    assert launched(lambda: formulas.conv2d(given_x, given_weight, given_bias, **options)) == ["depthwise", "add_bias"]
    assert launched(lambda: formulas.conv2d_x_vjp(given_x, given_weight, x_shape, **options)) == ["depthwise_x_vjp"]
    assert launched(lambda: formulas.conv2d_weight_vjp(given_x, given_x, weight_shape, **options)) == [
        "depthwise_weight_vjp", "column_sums"]


@pytest.mark.parametrize("outputs, options", [(16, {}), (8, {"dilation": 2})])
def test_several_outputs_a_channel_and_dilated_kernels_are_the_patches(outputs, options):
    x, weight = whole((2, 5, 5, 8), np.float32), whole((3, 3, 1, outputs), np.float32, seed=1)
    run = []
    assert launched(lambda: run.append(formulas.conv2d(put(x), put(weight), groups=8, **options))) == ["gather_patches"]
    expect(run[0], as_exact(formulas.conv2d, np.float32, x, weight, groups=8, **options))


@pytest.mark.parametrize("dtype, channels, side, stride, instance, run", [
    (np.float16, 96, 3, 2, "float16, 3, 2, true", 2), (np.float16, 672, 5, 1, "float16, 5, 1, true", 4),
    (np.float32, 32, 3, 1, "float, 3, 1, true", 4), (ml_dtypes.bfloat16, 672, 5, 2, "bfloat16, 5, 2, true", 2),
    (np.float64, 32, 3, 1, "double, 1, 1, true", 1), (np.float32, 32, 7, 1, "float, 1, 1, true", 1),
    (np.float32, 33, 3, 1, "float, 1, 1, false", 1)])
def test_common_kernels_take_16_bytes_at_a_time_and_compute_runs(dtype, channels, side, stride, instance, run):
    x = put(np.zeros((1, 1, 1, channels), dtype))
    windows = formulas.conv2d_windows((1, 14, 14, channels), (side, side, 1, channels), stride=stride, groups=channels)
    layout = fast._Layout(windows, channels, x)
    assert (layout.instance, layout.run) == (instance, run)
    assert layout.lanes * layout.across * (16 // x.itemsize if "true" in instance else 1) >= channels


@pytest.mark.parametrize("shape, side", [((128, 112, 112, 32), 3), ((128, 7, 7, 1152), 5)])
def test_the_sums_of_a_large_networks_weights_fill_a_gpu(shape, side):
    """The first and the last but one of EfficientNet-B0's depthwise convolutions."""
    windows = formulas.conv2d_windows(shape, (side, side, 1, shape[3]), groups=shape[3])
    layout = fast._Layout(windows, shape[3], put(np.zeros(8, np.float16)))
    block, grid, runs_of_block = fast._summation(layout, shape[0] * shape[1] * (shape[2] // 4))
    assert 256 <= np.prod(grid) <= 512 and 192 <= np.prod(block) <= 256 and runs_of_block >= 4 * block[2]
