"""Convolutions as implicit products on tensor cores, compared with the formula in exact arithmetic.

Inputs are small whole numbers, as in test_convolution.py: every sum is exact in float32 and every factor in TF32, so a
result is the exact value rounded once, whatever the order of adding. Channels are few, so that an example is quick;
the tiles are the real ones.
"""

import math

import cupy
import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from nfnumpy.backend import cublas, to_host
from nfnumpy.functional import convolution
from nfnumpy.functional.fast_cupy import convolution as fast, implicit_convolution as implicit
from reference_tests.helpers.on_gpu import ORDERS, launched, normal
from reference_tests.helpers.strategies import fits, paddings, positive_pairs
from reference_tests.kernels.test_convolution import out_shape_of, put, whole

DTYPES = (np.float32, np.float16, ml_dtypes.bfloat16)
ANY_DTYPE = st.sampled_from(DTYPES)
FORWARD, BACK, OF_WEIGHT = ["convolve"], ["convolve"], ["convolve_weight", "sum_splits"]


@pytest.fixture(autouse=True, scope="module")
def tf32_and_few_channels():
    """float32 may round to TF32, and tiles may be mostly empty."""
    with pytest.MonkeyPatch.context() as patch, cublas.tf32(True), implicit.switched(True):
        patch.setattr(implicit, "LEAST_FILLED", 0)
        yield


@st.composite
def convolutions(draw):
    """(x shape, weight shape, options) with channels in whole pieces of 16 bytes of any dtype."""
    n, h, w = draw(st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)))
    groups, fan, outs = draw(st.tuples(st.integers(1, 2), *[st.sampled_from([8, 16, 40, 64, 72, 136])] * 2))
    kernel = draw(st.one_of(st.just((3, 3)), st.tuples(st.integers(1, 3), st.integers(1, 3))))
    stride, dilation = draw(positive_pairs(3)), draw(positive_pairs(2))
    padding = draw(paddings().filter(lambda padding: fits((h, w), kernel, dilation, padding)))
    is_a_gemm = kernel == stride == (1, 1)
    options = {"stride": (2, 1) if is_a_gemm else stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (n, h, w, groups * fan), (*kernel, fan, groups * outs), options


PLAIN = {"stride": 1, "padding": "SAME", "dilation": 1, "groups": 1}
GROUPS_OF_128 = (1, 9, 16, 256), (3, 3, 128, 256), {**PLAIN, "groups": 2}  # NFNet's, in more than a tile of positions
WITH_STRIDE = (2, 12, 11, 72), (3, 3, 72, 192), {**PLAIN, "stride": 2}
OBLONG = (2, 7, 9, 80), (3, 2, 40, 48), {"stride": (1, 2), "padding": ((2, 0), (1, 3)), "dilation": (1, 3), "groups": 2}
THE_OTHER_WAY = (2, 9, 7, 16), (2, 3, 8, 176), {"stride": (3, 1), "padding": ((0, 1), (2, 2)), "dilation": (2, 1),
                                                "groups": 2}
LONG_ROWS = (1, 2, 150, 8), (1, 3, 8, 8), PLAIN
UNSEEN_PIXELS = (1, 7, 8, 8), (1, 1, 8, 64), {**PLAIN, "stride": 3, "padding": "VALID"}  # phases without a tap
MANY_TAPS = (1, 6, 8, 16), (4, 8, 16, 64), PLAIN
PROBLEMS = GROUPS_OF_128, WITH_STRIDE, OBLONG, THE_OTHER_WAY, LONG_ROWS, UNSEEN_PIXELS, MANY_TAPS


def everywhere(test):
    """The problems above and whatever Hypothesis draws."""
    for problem in PROBLEMS:
        for dtype in (np.float32, ml_dtypes.bfloat16):
            test = example(problem=problem, dtype=dtype)(test)
    return settings(max_examples=12)(given(problem=convolutions(), dtype=ANY_DTYPE)(test))


def result_of(function, kernels):
    """What `function()` gives, made sure that it started these kernels and nothing else."""
    results = []
    names = launched(lambda: results.append(function()))
    assert names and names == kernels * (len(names) // len(kernels))
    return results[0]


# ---- values


@everywhere
def test_a_convolution_with_its_bias_is_the_exact_sum_rounded_once(problem, dtype):
    x_shape, weight_shape, options = problem
    x, weight, bias = whole(x_shape, 0), whole(weight_shape, 1), whole(weight_shape[3:], 2, most=99)
    exact = convolution.conv2d.plain(x, weight, None, **options)
    for added, put_bias in ((0, None), (bias, put(bias, dtype, misaligned=True))):
        out = result_of(lambda given=put_bias: fast.conv2d(put(x, dtype), put(weight, dtype), given, **options),
                        FORWARD)
        assert out.dtype == dtype and np.array_equal(to_host(out), (exact + added).astype(dtype))


@everywhere
def test_every_pixel_receives_the_exact_sum_over_its_taps(problem, dtype):
    x_shape, weight_shape, options = problem
    cotangent, weight = whole(out_shape_of(*problem), 0), whole(weight_shape, 1)
    expected = convolution.conv2d_x_vjp.plain(cotangent, weight, x_shape, **options).astype(dtype)
    back = result_of(lambda: fast.conv2d_x_vjp(put(cotangent, dtype), put(weight, dtype), x_shape, **options), BACK)
    assert back.dtype == dtype and np.array_equal(to_host(back), expected)


@pytest.mark.parametrize("slots", [1, 100])
@everywhere
def test_the_weights_gradient_is_the_exact_sum_over_all_splits(slots, problem, dtype):
    x_shape, weight_shape, options = problem
    x, cotangent = whole(x_shape, 0, most=16), whole(out_shape_of(*problem), 1, most=16)
    expected = convolution.conv2d_weight_vjp.plain(cotangent, x, weight_shape, **options).astype(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(implicit, "_slices_of_split", lambda tiles, slices: max(1, slices // slots))
        weight = result_of(
            lambda: fast.conv2d_weight_vjp(put(cotangent, dtype), put(x, dtype), weight_shape, **options), OF_WEIGHT)
    assert weight.dtype == dtype and np.array_equal(to_host(weight), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pixels_that_no_window_sees_are_not_read_and_receive_zero(dtype):
    x = put(np.full((1, 7, 7, 8), np.nan), dtype)
    x[:, ::3, ::3] = 1.0  # all that a 1×1 kernel with stride 3 sees
    weight, options = put(np.ones((1, 1, 8, 8)), dtype), {"stride": 3, "padding": "VALID"}
    out = fast.conv2d(x, weight, **options)
    assert np.array_equal(to_host(out), np.full((1, 3, 3, 8), 8.0))
    back = to_host(fast.conv2d_x_vjp(out, weight, x.shape, **options)).astype(np.float64)
    assert np.all(back[:, ::3, ::3] == 64.0) and back.sum() == 64.0 * 9 * 8
    of_weight = fast.conv2d_weight_vjp(out, x, weight.shape, **options)
    assert np.array_equal(to_host(of_weight), np.full((1, 1, 8, 8), 72.0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_reach_the_outputs_that_see_them_and_no_others(dtype):
    """Zeros that fill a tile up meet zeros: nothing of another group, channel or position comes in."""
    for value in (np.nan, np.inf):
        x, weight = whole((2, 4, 4, 16), 0), np.abs(whole((3, 3, 8, 16), 1)) + 1
        x[1, 1, 1, 3] = value
        out = to_host(fast.conv2d(put(x, dtype), put(weight, dtype), groups=2)).astype(np.float64)
        assert np.array_equal(np.isfinite(out), np.ones(out.shape) != (np.indices(out.shape)[0] == 1)
                              * (np.indices(out.shape)[1] < 3) * (np.indices(out.shape)[2] < 3)
                              * (np.indices(out.shape)[3] < 8))


def test_factors_of_float32_are_rounded_to_tf32_and_their_product_is_not():
    x, weight = np.zeros((1, 3, 3, 8)), np.zeros((3, 3, 8, 8))
    x[0, 1, 1, 0], weight[1, 1, 0, 0] = 1 + 2.0**-11, 1 - 3 * 2.0**-12  # ties, of which the last digit goes up
    rounded_x, rounded_weight = 1 + 2.0**-10, 1 - 2.0**-11
    out = fast.conv2d(put(x, np.float32), put(weight, np.float32))
    assert to_host(out)[0, 1, 1, 0] == rounded_x * rounded_weight
    back = fast.conv2d_x_vjp(put(x, np.float32), put(weight, np.float32), x.shape)
    assert to_host(back)[0, 1, 1, 0] == rounded_x * rounded_weight
    of_weight = fast.conv2d_weight_vjp(put(x, np.float32), put(x, np.float32), weight.shape)
    assert to_host(of_weight)[1, 1, 0, 0] == rounded_x**2


@pytest.mark.parametrize("dtype, start", [(np.float16, 2048), (ml_dtypes.bfloat16, 256)])
def test_half_precision_rounds_sums_and_not_their_terms(monkeypatch, dtype, start):
    """2048 + 1 is 2048 in float16, as is 256 + 1 in bfloat16: splits that were rounded would lose ones."""
    monkeypatch.setattr(implicit, "_slices_of_split", lambda tiles, slices: 1)
    x = np.ones((3, 8, 8, 8))
    x[0, 0, 0, 0] = start
    weight = fast.conv2d_weight_vjp(put(np.ones((3, 4, 8, 8)), dtype), put(x, dtype), (1, 1, 8, 8), stride=(2, 1))
    assert to_host(weight)[0, 0, 0, 0] == np.float64(start + 95).astype(dtype) != start


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=4)
@given(problem=convolutions())
def test_bits_do_not_depend_on_the_order_of_threads_and_blocks(dtype, problem):
    x_shape, weight_shape, options = problem
    x, weight, bias, cotangent = (cupy.asarray(normal(shape, dtype)) for shape in
                                  (x_shape, weight_shape, weight_shape[3:], out_shape_of(*problem)))
    seen = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(implicit, "_slices_of_split", lambda tiles, slices: max(1, slices // 3))
        for order in ORDERS:
            patch.setenv("CUDA_ON_CPU_ORDER", order)
            results = (fast.conv2d(x, weight, bias, **options),
                       fast.conv2d_x_vjp(cotangent, weight, x_shape, **options),
                       fast.conv2d_weight_vjp(cotangent, x, weight_shape, **options))
            seen.add(tuple(to_host(result).tobytes() for result in results))
    assert len(seen) == 1


# ---- what runs


def kernels_of(x_shape=(1, 4, 4, 64), weight_shape=(3, 3, 64, 64), dtype=np.float32, misaligned=(), **options):
    """The kernels that the convolution and its derivatives start."""
    shapes = x_shape, weight_shape, out_shape_of(x_shape, weight_shape, {**PLAIN, **options})
    x, weight, cotangent = (put(np.zeros(shape), dtype, misaligned=k in misaligned) for k, shape in enumerate(shapes))
    return [launched(lambda: fast.conv2d(x, weight, **options)),
            launched(lambda: fast.conv2d_x_vjp(cotangent, weight, x_shape, **options)),
            launched(lambda: fast.conv2d_weight_vjp(cotangent, x, weight_shape, **options))]


IMPLICITLY, WITH_PATCHES = [FORWARD, BACK, OF_WEIGHT], [["gather_patches"], ["sum_patches"], ["gather_patches"]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_convolution_of_many_channels_writes_no_patches(dtype):
    assert kernels_of(dtype=dtype) == IMPLICITLY
    assert kernels_of(dtype=dtype, stride=2) == [FORWARD, BACK * 4, OF_WEIGHT]


@pytest.mark.parametrize("what", ["off", "tf32", "major", "least filled", "limit", "most taps"])
def test_the_present_path_runs_where_this_one_is_not_for(monkeypatch, what):
    changes = {"major": ("_major", lambda device: 7), "least filled": ("LEAST_FILLED", 1.1), "limit": ("LIMIT", 1024),
               "most taps": ("MOST_TAPS", 8)}
    if what in changes:
        monkeypatch.setattr(implicit, *changes[what])
    with cublas.tf32(what != "tf32"), implicit.switched(what != "off"):
        assert kernels_of() == WITH_PATCHES
        assert kernels_of(dtype=np.float16) == (IMPLICITLY if what == "tf32" else WITH_PATCHES)


def test_float64_odd_channels_and_other_addresses_have_the_present_path():
    assert kernels_of(dtype=np.float64) == WITH_PATCHES
    for dtype, fan in ((np.float32, 66), (np.float16, 68)):
        assert kernels_of((1, 4, 4, fan), (3, 3, fan, 64), dtype) == WITH_PATCHES
        assert kernels_of((1, 4, 4, 64), (3, 3, 64, fan), dtype) == WITH_PATCHES
    assert kernels_of((1, 4, 4, 68), (3, 3, 68, 64)) == IMPLICITLY
    for operand, unaffected in enumerate((1, 2, 0)):
        expected = [FORWARD, BACK, OF_WEIGHT] if operand is None else list(WITH_PATCHES)
        expected[unaffected] = IMPLICITLY[unaffected]
        assert kernels_of(misaligned=(operand,)) == expected


def test_a_1_by_1_convolution_stays_one_product():
    assert kernels_of(weight_shape=(1, 1, 64, 64)) == [[], [], []]
    assert kernels_of(weight_shape=(1, 1, 64, 64), stride=2) == [FORWARD, BACK * 4, OF_WEIGHT]


@pytest.mark.parametrize("dtype, fan, outs, runs", [
    (np.float32, 128, 128, "out x weight"), (np.float16, 64, 64, "out x weight"), (np.float32, 32, 64, "out x weight"),
    (np.float32, 16, 32, "out x"), (np.float16, 32, 32, "out x weight"), (np.float16, 16, 32, ""),
    (np.float16, 16, 256, "out x weight"), (np.float32, 8, 256, "out"), (np.float16, 8, 256, "")])
def test_tiles_that_would_be_mostly_empty_are_not_worth_it(monkeypatch, dtype, fan, outs, runs):
    monkeypatch.setattr(implicit, "LEAST_FILLED", 0.25)
    shapes = (1, 4, 4, 2 * fan), (3, 3, fan, 2 * outs), 2
    windows, array = convolution.conv2d_windows(*shapes[:2], groups=2), put(np.zeros(8), dtype)
    assert [wanted for wanted in ("out", "x", "weight")
            if implicit.suits(windows, *shapes, wanted, array, array)] == runs.split()


@given(size=st.integers(1, 1000))
def test_a_larger_tile_is_chosen_where_it_wastes_no_more(size):
    assert implicit._side(size) == (128 if -size % 128 == -size % 64 else 64)


@given(tiles=st.integers(1, 3000), slices=st.integers(1, 10000))
def test_splits_cover_all_slices_and_fill_the_device_where_they_can(tiles, slices):
    of_split = implicit._slices_of_split(tiles, slices)
    splits = math.ceil(slices / of_split)
    assert 1 <= of_split <= slices and (splits - 1) * of_split < slices <= splits * of_split
    assert splits == 1 or of_split >= 8
    waves = math.ceil(tiles * splits / implicit.SLOTS)
    assert waves * of_split <= math.ceil(tiles / implicit.SLOTS) * slices  # no slower than without splits


def test_constants_are_those_of_the_kernels():
    text = implicit.KERNELS.source
    assert f"SLICE_BYTES = {implicit.SLICE_BYTES}," in text and f"STAGES = {implicit.STAGES};" in text
    for tile in ("128, 128", "128, 64", "64, 64"):
        rows, columns = implicit._sides(tile)
        shared = implicit._shared_bytes("convolve", ("float32", "false", tile))
        assert shared == (rows + columns) * 128 * 3 and shared >= rows * (columns + 4) * 4  # a tile, in the same place
        assert shared + rows * 4 <= 99 << 10  # bytes that a block can have on the smallest devices with tensor cores


def test_tiles_of_256_positions_give_the_same(monkeypatch):
    """They are not chosen; time_convolutions.py measures them."""
    x, weight = put(whole((1, 14, 20, 16), 0), np.float16), put(whole((3, 3, 16, 72), 1), np.float16)
    expected = to_host(fast.conv2d(x, weight))
    monkeypatch.setattr(implicit, "ROWS", 256)
    monkeypatch.setattr(implicit.KERNELS, "kernels", {"convolve": (("float16",), ("false",), ("256, 128",))})
    monkeypatch.setattr(implicit.KERNELS, "_functions", {})
    assert np.array_equal(to_host(fast.conv2d(x, weight)), expected)
