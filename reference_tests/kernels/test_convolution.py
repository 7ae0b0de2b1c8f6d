"""Convolution on CuPy: patches, products and their derivatives, compared with the formula in exact arithmetic.

Inputs are small whole numbers, so that every sum is exact in float32 (below 2²⁴), and in TF32 products too: what a
kernel gives is the exact value, rounded to its dtype where it is stored, whatever the order of adding.
"""

import math

import cupy
import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from nfnumpy import InputError
from nfnumpy.backend import cublas, cuda, to_host
from nfnumpy.functional import convolution
from nfnumpy.functional.fast_cupy import convolution as fast
from reference_tests.helpers.strategies import fits, paddings, positive_pairs

DTYPES = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)
ANY_BYTES = st.sampled_from([1, 1000, 20_000, 1 << 28])


def whole(shape, seed, most=2):
    return np.random.default_rng(seed).integers(-most, most, shape, endpoint=True).astype(np.float64)


def put(array, dtype, misaligned=False, transposed=False):
    """`array` on the GPU; at an address that is no multiple of 16, or in Fortran's order."""
    array = array.astype(dtype)
    if transposed:
        return cupy.asarray(np.ascontiguousarray(array.T)).T
    flat = cupy.asarray(np.concatenate([np.zeros(int(misaligned), dtype), array.ravel()]))
    return flat[int(misaligned):].reshape(array.shape)


def with_patch_bytes(count, function):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "PATCH_BYTES", count)
        return function()


@st.composite
def convolutions(draw):
    """(x shape, weight shape, options): channels that fill 16 bytes and channels that do not, at every geometry."""
    n, h, w = draw(st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 7)))
    groups, fan, outs = draw(st.tuples(st.integers(1, 3), st.sampled_from([1, 2, 3, 4, 5, 8, 16]),
                                       st.sampled_from([1, 2, 3, 4, 8])))
    kernel = draw(st.one_of(st.just((1, 1)), st.just((3, 3)), st.tuples(st.integers(1, 4), st.integers(1, 4))))
    stride, dilation = draw(positive_pairs(3)), draw(positive_pairs(2))
    padding = draw(paddings().filter(lambda padding: fits((h, w), kernel, dilation, padding)))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (n, h, w, groups * fan), (*kernel, fan, groups * outs), options


WITHOUT_OPTIONS = {"stride": 1, "padding": "SAME", "dilation": 1, "groups": 1}
STEM = (2, 9, 9, 3), (3, 3, 3, 16), {**WITHOUT_OPTIONS, "stride": 2}
LONG_PATCH = (1, 4, 5, 130), (3, 3, 130, 2), WITHOUT_OPTIONS  # more units than a block has threads
MANY_CHANNELS = (1, 2, 3, 3 * 173), (2, 2, 173, 3), {**WITHOUT_OPTIONS, "groups": 3}
OF_ONE_CHANNEL = (2, 6, 6, 24), (3, 3, 1, 48), {**WITHOUT_OPTIONS, "groups": 24}
WIDE_IMAGE = (1, 2, 300, 8), (3, 3, 8, 4), WITHOUT_OPTIONS  # more columns than a block has threads down
OBLONG = (2, 7, 9, 8), (3, 2, 4, 6), {"stride": (1, 2), "padding": ((2, 0), (1, 3)), "dilation": (1, 3), "groups": 2}
OBLONG_THE_OTHER_WAY = (2, 9, 7, 8), (2, 3, 4, 6), {"stride": (3, 1), "padding": ((0, 1), (2, 2)), "dilation": (2, 1),
                                                    "groups": 2}
PROBLEMS = STEM, LONG_PATCH, MANY_CHANNELS, OF_ONE_CHANNEL, WIDE_IMAGE, OBLONG, OBLONG_THE_OTHER_WAY


def everywhere(test):
    """The problems above and whatever Hypothesis draws."""
    for problem in PROBLEMS:
        for dtype in (np.float32, np.float16):
            test = example(problem=problem, dtype=dtype, size=20_000, misaligned=False, transposed=False)(test)
    return given(problem=convolutions(), dtype=st.sampled_from(DTYPES), size=ANY_BYTES, misaligned=st.booleans(),
                 transposed=st.booleans())(test)


def out_shape_of(x_shape, weight_shape, options):
    windows = convolution.conv2d_windows(x_shape, weight_shape, **options)
    return x_shape[0], *windows.out, weight_shape[3]


# ---- values


@pytest.mark.parametrize("biased", [False, True])
@everywhere
def test_convolution_is_the_exact_sum_rounded_once_or_twice(biased, problem, dtype, size, misaligned,
                                                                             transposed):
    x_shape, weight_shape, options = problem
    x, weight, bias = whole(x_shape, 0), whole(weight_shape, 1), whole(weight_shape[3:], 2, most=99) if biased else None
    expected = convolution.conv2d.plain(x, weight, None, **options).astype(dtype)
    if biased:
        expected = (expected.astype(np.float64) + bias).astype(dtype)
    out = with_patch_bytes(size, lambda: fast.conv2d(
        put(x, dtype, misaligned, transposed), put(weight, dtype, misaligned),
        put(bias, dtype, misaligned) if biased else None, **options))
    assert out.dtype == dtype and np.array_equal(to_host(out), expected)


@everywhere
def test_every_pixel_receives_the_exact_sum_over_its_taps(problem, dtype, size, misaligned, transposed):
    """A tap's share, at most 8·4 here, is exact in every dtype; their sum is rounded once."""
    x_shape, weight_shape, options = problem
    cotangent, weight = whole(out_shape_of(*problem), 0), whole(weight_shape, 1)
    expected = convolution.conv2d_x_vjp.plain(cotangent, weight, x_shape, **options).astype(dtype)
    back = with_patch_bytes(size, lambda: fast.conv2d_x_vjp(
        put(cotangent, dtype, misaligned, transposed), put(weight, dtype, misaligned), x_shape, **options))
    assert back.dtype == dtype and np.array_equal(to_host(back), expected)


@everywhere
def test_the_weights_gradient_is_the_exact_sum_over_all_chunks(problem, dtype, size, misaligned,
                                                                                transposed):
    """Numbers up to 16: in halves the sums of many chunks would not survive a rounding after each."""
    x_shape, weight_shape, options = problem
    x, cotangent = whole(x_shape, 0, most=16), whole(out_shape_of(*problem), 1, most=16)
    expected = convolution.conv2d_weight_vjp.plain(cotangent, x, weight_shape, **options).astype(dtype)
    weight = with_patch_bytes(size, lambda: fast.conv2d_weight_vjp(
        put(cotangent, dtype, misaligned, transposed), put(x, dtype, misaligned, transposed), weight_shape, **options))
    assert weight.dtype == dtype and np.array_equal(to_host(weight), expected)


def test_unseen_pixels_receive_zero_and_nothing_outside_is_read():
    x = put(np.full((1, 5, 5, 4), np.nan), np.float32)
    x[:, ::3, ::3] = 1.0  # all that a 1×1 kernel with stride 3 sees
    weight, options = put(np.ones((1, 1, 4, 2)), np.float32), {"stride": 3, "padding": "VALID"}
    out = fast.conv2d(x, weight, **options)
    assert np.array_equal(to_host(out), np.full((1, 2, 2, 2), 4.0))
    back = to_host(fast.conv2d_x_vjp(out, weight, x.shape, **options))
    assert np.all(back[:, ::3, ::3] == 8.0) and back.sum() == 8.0 * 4 * 4


def test_half_precision_rounds_sums_and_not_their_terms():
    """2048 + 1 is 2048 in float16, as is 256 + 1 in bfloat16: added in sequence, ones would get lost."""
    for dtype, start in ((np.float16, 2048), (ml_dtypes.bfloat16, 256)):
        x = np.ones((3, 4, 4, 16))
        x[0, 0, 0, 0] = start
        weight = fast.conv2d_weight_vjp(put(np.ones((3, 4, 4, 1)), dtype), put(x, dtype), (1, 1, 16, 1))
        assert to_host(weight).ravel()[0] == np.float64(start + 47).astype(dtype) != start
        share = np.zeros((1, 3, 3, 1))
        share[0] += 1.0
        share[0, 2, 2, 0] = start  # which the first tap adds
        back = fast.conv2d_x_vjp(put(share, dtype), put(np.ones((3, 3, 1, 1)), dtype), (1, 3, 3, 1))
        assert to_host(back)[0, 1, 1, 0] == np.float64(start + 8).astype(dtype) != start


@pytest.mark.parametrize("dtype", DTYPES)
@given(problem=convolutions(), size=ANY_BYTES)
def test_bits_do_not_depend_on_the_order_of_threads_and_blocks(dtype, problem, size):
    x_shape, weight_shape, options = problem
    draws = np.random.default_rng(0)
    x, weight, bias, cotangent = (put(draws.standard_normal(shape), dtype) for shape in
                                  (x_shape, weight_shape, weight_shape[3:], out_shape_of(*problem)))
    seen = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "PATCH_BYTES", size)
        for order in ("0", "1", "2"):
            patch.setenv("CUDA_ON_CPU_ORDER", order)
            results = (fast.conv2d(x, weight, bias, **options),
                       fast.conv2d_x_vjp(cotangent, weight, x_shape, **options),
                       fast.conv2d_weight_vjp(cotangent, x, weight_shape, **options))
            seen.add(tuple(to_host(result).tobytes() for result in results))
    assert len(seen) == 1


# ---- what runs


@pytest.fixture
def work(monkeypatch):
    """A list of what is started on the GPU: the name of a kernel, or (m, n, k, batch, compute type) of a product."""
    started, launch = [], cuda.KernelFile.launch
    from cupy.cuda import cublas as library
    multiply = library.gemmStridedBatchedEx

    def launched(self, kernel, *rest):
        started.append(kernel)
        launch(self, kernel, *rest)

    def multiplied(*arguments):
        started.append((*arguments[3:6], *arguments[-3:-1]))
        multiply(*arguments)

    monkeypatch.setattr(cuda.KernelFile, "launch", launched)
    monkeypatch.setattr(library, "gemmStridedBatchedEx", multiplied)
    return started


@pytest.mark.parametrize("groups", [1, 4])
def test_a_1_by_1_convolution_is_one_gemm_as_are_its_gradients(work, groups):
    x, weight = put(whole((3, 4, 5, 8), 0), np.float64), put(whole((1, 1, 8 // groups, 12), 1), np.float64)
    out = fast.conv2d(x, weight, groups=groups)
    fast.conv2d_x_vjp(out, weight, x.shape, groups=groups)
    fast.conv2d_weight_vjp(out, x, weight.shape, groups=groups)
    fan, outs = 8 // groups, 12 // groups
    assert [product[:4] for product in work] == [(outs, 60, fan, groups), (fan, 60, outs, groups),
                                                 (outs, fan, 60, groups)]


@pytest.mark.parametrize("images_at_a_time, lengths", [(1, [1] * 5), (2, [2, 2, 1]), (4, [3, 2]), (9, [5])])
def test_a_grouped_convolution_is_one_gather_and_gemm_a_chunk(work, monkeypatch, images_at_a_time,
                                                                              lengths):
    x, weight = put(whole((5, 4, 4, 8), 0), np.float32), put(whole((3, 3, 4, 6), 1), np.float32)
    monkeypatch.setattr(fast, "PATCH_BYTES", images_at_a_time * 16 * 9 * 8 * 4)
    out = fast.conv2d(x, weight, put(whole((6,), 2), np.float32), groups=2)
    assert [entry if isinstance(entry, str) else entry[:4] for entry in work] == [
        entry for length in lengths for entry in ("gather_patches", (3, 16 * length, 36, 2))] + ["add_bias"]
    work.clear()
    fast.conv2d_x_vjp(out, weight, x.shape, groups=2)
    assert [entry if isinstance(entry, str) else entry[:4] for entry in work] == [
        entry for length in lengths for entry in ((36, 16 * length, 3, 2), "sum_patches")]
    work.clear()
    fast.conv2d_weight_vjp(out, x, weight.shape, groups=2)
    assert [entry if isinstance(entry, str) else entry[:4] for entry in work] == [
        entry for length in lengths for entry in ("gather_patches", (3, 36, 16 * length, 2))]


@pytest.mark.parametrize("dtype, fan, unit, packed", [
    (np.float32, 128, "Pack<unsigned>", True), (np.float32, 4, "Pack<unsigned>", True),
    (np.float32, 6, "unsigned long long", False), (np.float32, 3, "unsigned", False),
    (np.float64, 2, "Pack<unsigned>", True), (np.float64, 1, "unsigned long long", False),
    (np.float16, 8, "Pack<unsigned>", True), (np.float16, 4, "unsigned long long", False),
    (np.float16, 1, "unsigned short", False)])
def test_16_bytes_move_at_once_where_channels_fill_them(monkeypatch, dtype, fan, unit, packed):
    seen, launch = [], cuda.KernelFile.launch

    def launched(self, kernel, parameters, *rest):
        seen.append(parameters[-1])
        launch(self, kernel, parameters, *rest)

    monkeypatch.setattr(cuda.KernelFile, "launch", launched)
    x, weight = put(whole((1, 2, 2, 2 * fan), 0), dtype), put(whole((2, 2, fan, 4), 1), dtype)
    fast.conv2d_x_vjp(fast.conv2d(x, weight, groups=2), weight, x.shape, groups=2)
    assert seen == [unit, str(packed).lower()]


@given(images=st.integers(1, 200), side=st.integers(1, 20), fan=st.integers(1, 9), size=st.integers(1, 1 << 20))
def test_chunks_are_even_and_keep_patches_within_their_bytes(images, side, fan, size):
    patches = fast._Patches((images, side, side, 2 * fan), (3, 3, fan, 4), np.dtype(np.float32), groups=2)
    chunks = with_patch_bytes(size, patches.chunks)
    lengths = [chunk.stop - chunk.start for chunk in chunks]
    assert [k for chunk in chunks for k in range(chunk.start, chunk.stop)] == list(range(images))
    assert lengths[0] == max(lengths) and len(chunks) == math.ceil(images / lengths[0])
    assert lengths[0] == 1 or lengths[0] * side * side * 9 * 2 * fan * 4 <= size


@given(address=st.integers(0, 1 << 40).map(lambda k: 2 * k), run=st.integers(1, 600).map(lambda k: 2 * k))
def test_accesses_are_as_long_as_address_and_channels_allow(address, run):
    assert fast._unit(address, run) == max(size for size in (2, 4, 8, 16) if address % size == run % size == 0)


# ---- what is refused


def error_of(function, *arguments, **options):
    with pytest.raises(InputError) as caught:
        function(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize("x_shape, weight_shape, bias_shape, options", [
    ((2, 4, 4), (3, 3, 2, 2), None, {}), ((2, 4, 4, 5), (3, 3, 3, 2), None, {}),
    ((2, 4, 4, 4), (3, 3, 2, 3), None, {"groups": 2}), ((2, 4, 4, 4), (3, 3, 4, 2), (3,), {}),
    ((2, 2, 2, 4), (3, 3, 4, 2), None, {"padding": "VALID"}), ((2, 4, 4, 4), (3, 3, 4, 2), None, {"stride": 0}),
    ((2, 4, 4, 4), (3, 3, 4, 2), None, {"padding": "FULL"}), ((2, 4, 4, 4), (3, 3, 4, 2), None, {"groups": 0})])
def test_mistakes_are_the_formulas_errors(x_shape, weight_shape, bias_shape, options):
    arrays = [None if shape is None else np.ones(shape) for shape in (x_shape, weight_shape, bias_shape)]
    expected = error_of(convolution.conv2d.plain, *arrays, **options)
    on_gpu = [None if array is None else cupy.asarray(array) for array in arrays]
    assert error_of(convolution.conv2d, *on_gpu, **options) == expected


def test_wrong_cotangents_and_mixed_dtypes_reach_no_kernel(work):
    x, weight = put(whole((2, 4, 4, 4), 0), np.float32), put(whole((3, 3, 4, 2), 1), np.float32)
    for shape in ((2, 5, 4, 2), (2, 4, 4, 3), (1, 4, 4, 2)):
        cotangent = put(whole(shape, 2), np.float32)
        assert fast.conv2d_x_vjp(cotangent, weight, x.shape) is NotImplemented
        assert fast.conv2d_weight_vjp(cotangent, x, weight.shape) is NotImplemented
    assert fast.conv2d(x, weight.astype(np.float64)) is NotImplemented
    assert fast.conv2d(x, weight, put(whole((2,), 2), np.float64)) is NotImplemented
    assert fast.conv2d(x.astype(np.int32), weight.astype(np.int32)) is NotImplemented
    assert work == []


@pytest.mark.parametrize("x_shape, weight_shape", [((0, 4, 4, 2), (3, 3, 2, 3)), ((2, 4, 4, 0), (3, 3, 0, 3)),
                                                   ((2, 4, 4, 2), (3, 3, 2, 0)), ((2, 0, 4, 2), (3, 3, 2, 3))])
def test_nothing_in_gives_the_formulas_nothing_or_zeros(work, x_shape, weight_shape):
    x, weight = put(np.ones(x_shape), np.float64), put(np.ones(weight_shape), np.float64)
    out = convolution.conv2d(x, weight)
    expected = convolution.conv2d.plain(np.ones(x_shape), np.ones(weight_shape))
    assert np.array_equal(to_host(out), expected)
    assert np.array_equal(to_host(convolution.conv2d_x_vjp(out, weight, x_shape)), np.zeros(x_shape))
    assert np.array_equal(to_host(convolution.conv2d_weight_vjp(out, x, weight_shape)), np.zeros(weight_shape))
    assert work == []


# ---- the precision of products


def test_float32_gemms_use_tf32_unless_that_is_switched_off(work):
    from cupy.cuda import cublas as library
    x = {dtype: put(np.ones((1, 2, 2, 4)), dtype) for dtype in DTYPES}
    weight = {dtype: put(np.ones((1, 1, 4, 4)), dtype) for dtype in DTYPES}

    def modes():
        work.clear()
        for dtype in DTYPES:
            fast.conv2d(x[dtype], weight[dtype])
        return [entry[4] for entry in work]

    plain = [library.CUBLAS_COMPUTE_32F, library.CUBLAS_COMPUTE_64F] + [library.CUBLAS_COMPUTE_32F] * 2
    rounded = [library.CUBLAS_COMPUTE_32F_FAST_TF32, *plain[1:]]
    with cublas.tf32(True):
        assert modes() == rounded
        with cublas.tf32(False):
            assert modes() == plain
        assert modes() == rounded
