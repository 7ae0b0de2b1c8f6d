"""Pooling and the global mean on CuPy.

Pools give to the bit what their formulas give, computed in the type that the kernels compute in and rounded once: they
add up in the same order. u is half an epsilon of that type.
"""

import cupy
import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from nfnumpy import InputError
from nfnumpy.backend import cuda, to_host
from nfnumpy.functional import pooling as formulas
from nfnumpy.functional.fast_cupy import image_means
from reference_tests.helpers.on_gpu import (
    ANY_DTYPE,
    DTYPES,
    bits_in_all_orders,
    exact,
    expect,
    hold,
    launched,
    normal,
    put,
    rounded,
    units,
    waits,
    whole,
)
from reference_tests.helpers.strategies import both, fits, positive_pairs

CHANNELS = st.sampled_from([1, 2, 3, 4, 5, 8, 16, 24])
CALM, TIES, WILD = "all unlike", "many alike", "infinite or NaN here and there"


@st.composite
def pools(draw):
    """(shape of the images, options)."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7), CHANNELS))
    window = draw(positive_pairs(4))
    frame = st.tuples(*(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)) for k in both(window)))
    padding = draw(st.one_of(st.sampled_from(["SAME", "VALID"]), frame).filter(
        lambda padding: fits(shape[1:3], both(window), 1, padding)))
    return shape, {"window": window, "stride": draw(st.one_of(st.none(), positive_pairs(4))), "padding": padding}


DOWNSAMPLING = (2, 8, 8, 32), {"window": 2, "stride": None, "padding": "SAME"}  # two blocks and more
STEM = (2, 9, 9, 24), {"window": 3, "stride": 2, "padding": "SAME"}
OVERLAPPING = (2, 7, 7, 17), {"window": 3, "stride": 1, "padding": "SAME"}
ROWS_OF_ONE = (3, 5, 1, 8), {"window": (1, 1), "stride": (3, 2), "padding": "VALID"}


def values(shape, dtype, kind, seed=0):
    random = np.random.default_rng(seed)
    if kind == TIES:
        return random.integers(0, 3, shape).astype(dtype)
    x = normal(shape, dtype, seed)
    if kind == WILD:
        for value, share in ((-np.inf, 0.5), (np.inf, 0.05), (np.nan, 0.05)):
            x[random.random(shape) < share] = value
    return x


def examples(test):
    for problem in (DOWNSAMPLING, STEM, OVERLAPPING, ROWS_OF_ONE):
        for dtype in (np.float32, np.float16):
            for kind in (TIES, WILD):
                test = example(problem=problem, dtype=dtype, kind=kind, misaligned=False)(test)
    return test


@examples
@given(problem=pools(), dtype=ANY_DTYPE, kind=st.sampled_from([CALM, TIES, WILD]), misaligned=st.booleans())
def test_average_pool_and_its_vjp_are_the_formulas_to_the_bit(problem, dtype, kind, misaligned):
    shape, options = problem
    x = values(shape, dtype, kind)
    out = rounded(formulas.avg_pool, dtype, x, **options)
    expect(formulas.avg_pool(put(x, misaligned), **options), out)
    cotangent = values(out.shape, dtype, kind, seed=1)
    expect(formulas.avg_pool_vjp(put(cotangent, misaligned), shape, **options),
           rounded(formulas.avg_pool_vjp, dtype, cotangent, shape, **options))


@examples
@given(problem=pools(), dtype=ANY_DTYPE, kind=st.sampled_from([CALM, TIES, WILD]), misaligned=st.booleans())
def test_max_pool_and_its_vjp_are_the_formulas_to_the_bit(problem, dtype, kind, misaligned):
    """NaN wins every window that it is in, and such a window passes no gradient on; padding may win over -inf."""
    shape, options = problem
    x = values(shape, dtype, kind)
    out = rounded(formulas.max_pool, dtype, x, **options)
    expect(formulas.max_pool(put(x, misaligned), **options), out)
    cotangent = values(out.shape, dtype, CALM, seed=1)
    expect(formulas.max_pool_vjp(put(cotangent), put(x, misaligned), put(out), **options),
           rounded(formulas.max_pool_vjp, dtype, cotangent, x, out, **options))


def test_the_first_of_equal_pixels_receives_everything():
    x = put(np.array([[1.0, 2.0], [2.0, 2.0]], np.float32).reshape(1, 2, 2, 1))
    out = formulas.max_pool(x, window=2)
    back = to_host(formulas.max_pool_vjp(put(np.full((1, 1, 1, 1), 3.0, np.float32)), x, out, window=2))
    assert back.reshape(2, 2).tolist() == [[0.0, 3.0], [0.0, 0.0]]


def test_an_infinite_cotangent_spreads_nan_as_in_the_formula():
    x, cotangent = values((1, 4, 4, 3), np.float32, CALM), np.full((1, 2, 2, 3), np.inf, np.float32)
    out = rounded(formulas.max_pool, np.float32, x, window=2)
    expect(formulas.max_pool_vjp(put(cotangent), put(x), put(out), window=2),
           rounded(formulas.max_pool_vjp, np.float32, cotangent, x, out, window=2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_images_in_another_order_of_axes_pool_alike(dtype):
    x = normal((3, 6, 5, 8), dtype)
    for pool in (formulas.avg_pool, formulas.max_pool):
        expect(pool(put(x, transposed=True), window=3, stride=2), to_host(pool(put(x), window=3, stride=2)))


@pytest.mark.parametrize("shape", [(0, 4, 4, 2), (2, 4, 4, 0), (2, 0, 4, 2)], ids=["batch", "channels", "height"])
def test_images_of_no_size_pool_to_such(shape):
    out_shape = shape[0], shape[1] // 2, 2, shape[3]
    x, out = cupy.ones(shape), cupy.ones(out_shape)
    assert formulas.avg_pool(x, window=2).shape == formulas.max_pool(x, window=2).shape == out_shape
    assert formulas.avg_pool_vjp(out, shape, window=2).shape == shape
    assert formulas.max_pool_vjp(out, x, out, window=2).shape == shape


@pytest.mark.parametrize("pool", [formulas.avg_pool, formulas.max_pool])
@pytest.mark.parametrize("options, message", [
    ({"window": 0}, "window: expected"), ({"window": 2, "stride": 0}, "stride: expected"),
    ({"window": 9, "padding": "VALID"}, "does not fit"), ({"window": 2, "padding": 2}, "no pixel")])
def test_mistakes_are_the_formulas_errors(pool, options, message):
    with pytest.raises(InputError, match=message):
        pool(cupy.ones((1, 4, 4, 1)), **options)
    with pytest.raises(InputError, match=r"\(N, H, W, C\)"):
        pool(cupy.ones((4, 4, 1)), window=2)


@pytest.mark.parametrize("options", [{"window": 2, "stride": 1 << 40}, {"window": 1, "stride": (1 << 31) - 1}])
def test_strides_beyond_every_image_are_the_formulas(options):
    x = normal((1, 3, 3, 4), np.float32)
    expect(formulas.avg_pool(put(x), **options), rounded(formulas.avg_pool, np.float32, x, **options))


# ---- the global mean


MEANS = st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(1, 9), st.sampled_from([0, 1, 3, 8, 33, 64, 130]))


@given(shape=MEANS, dtype=ANY_DTYPE, misaligned=st.booleans(), blocks=st.sampled_from([1, 5, 512]),
       worth=st.sampled_from([1, 16]))
@example(shape=(2, 24, 24, 64), dtype=np.float32, misaligned=False, blocks=512, worth=1)
@example(shape=(2, 24, 24, 64), dtype=np.float16, misaligned=False, blocks=512, worth=1)
@example(shape=(1, 48, 48, 5), dtype=np.float64, misaligned=False, blocks=512, worth=1)
@example(shape=(3, 6, 6, 300), dtype=np.float32, misaligned=False, blocks=512, worth=16)
@example(shape=(3, 6, 6, 300), dtype=np.float16, misaligned=False, blocks=512, worth=1)
def test_the_global_mean_is_right_for_every_split_of_pixels(shape, dtype, misaligned, blocks, worth):
    """Of whole numbers: sums are exact, and only the division rounds. Of no pixels, it is NaN."""
    x, number = whole(shape, dtype), cuda.accumulator_type(np.dtype(dtype))
    with pytest.MonkeyPatch.context() as patch, np.errstate(invalid="ignore"):
        patch.setattr(image_means, "ENOUGH_BLOCKS", blocks)
        patch.setattr(image_means, "WORTH_A_SHARE", worth)
        expect(formulas.global_mean(put(x, misaligned)),
               (x.astype(number).sum(axis=(1, 2)) / number(shape[1] * shape[2])).astype(dtype))


@given(shape=MEANS.filter(lambda shape: shape[1]), dtype=ANY_DTYPE)
def test_so_it_is_but_for_roundings_where_numbers_are_not_whole(shape, dtype):
    """Any order of adding n pixels errs by at most n·u of the mean of their magnitudes, the division by u."""
    x, pixels = normal(shape, dtype), shape[1] * shape[2]
    mean, magnitude = (part.sum(axis=(1, 2)) / pixels for part in (exact(x), np.abs(exact(x))))
    hold(formulas.global_mean(put(x)), mean, (pixels + 1) * units(dtype)[0] * magnitude, dtype)


@given(shape=MEANS, dtype=ANY_DTYPE, misaligned=st.booleans(), transposed=st.booleans())
@example(shape=(2, 10, 10, 136), dtype=np.float32, misaligned=False, transposed=False)  # several blocks each way
@example(shape=(2, 10, 10, 300), dtype=np.float16, misaligned=False, transposed=False)
@example(shape=(2, 50, 50, 3), dtype=np.float32, misaligned=False, transposed=False)
def test_every_pixel_gets_an_equal_share_of_a_means_cotangent(shape, dtype, misaligned, transposed):
    cotangent = normal((shape[0], shape[3]), dtype)
    back = formulas.global_mean_vjp(put(cotangent, misaligned and not transposed, transposed), shape)
    expect(back, rounded(formulas.global_mean_vjp, dtype, cotangent, shape))


def test_half_precision_sums_do_not_overflow():
    x = np.full((1, 48, 48, 8), 1000.0, np.float16)
    expect(formulas.global_mean(put(x)), x[:, 0, 0])


@pytest.mark.parametrize("images, pixels, channels, itemsize", [
    (128, 48 * 48, 256, 4), (128, 48 * 48, 256, 2), (128, 24 * 24, 512, 2), (128, 12 * 12, 1536, 2),
    (128, 6 * 6, 1536, 2), (128, 6 * 6, 3072, 4)])
def test_the_maps_of_a_large_network_fill_a_gpu_in_one_launch(images, pixels, channels, itemsize):
    lanes, shares, blocks = image_means.layout_of_sums(images, pixels, channels * itemsize // 16)
    assert shares == 1 and blocks >= 512 and pixels * lanes >= 256 * 4


def test_the_pixels_of_a_single_large_image_are_shared_out():
    _, shares, blocks = image_means.layout_of_sums(1, 192 * 192, 16)
    assert shares * 2 == blocks >= 128


def test_a_global_mean_of_the_wrong_rank_is_the_formulas_error():
    with pytest.raises(InputError, match=r"global_mean: expected an image \(N, H, W, C\)"):
        formulas.global_mean(cupy.ones((3, 4, 5)))


# ---- how they run


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_order_of_threads_gives_the_same_bits(dtype):
    x, wide = put(normal((2, 9, 9, 17), dtype)), put(normal((2, 9, 9, 72), dtype))  # two blocks of channels
    out = formulas.max_pool(x, window=3, stride=2)
    assert len(bits_in_all_orders(lambda: (
        formulas.avg_pool(x, window=3, stride=2), formulas.max_pool(x, window=3, stride=2),
        formulas.avg_pool_vjp(out, x.shape, window=3, stride=2),
        formulas.max_pool_vjp(out, x, out, window=3, stride=2),
        formulas.global_mean(wide), formulas.global_mean_vjp(wide[:, 0, 0], wide.shape)))) == 1


def test_each_is_one_launch_without_waiting():
    x, out = cupy.ones((2, 4, 4, 8)), cupy.ones((2, 2, 2, 8))
    for run, kernel in ((lambda: formulas.avg_pool(x, window=2), "avg_pool"),
                        (lambda: formulas.avg_pool_vjp(out, x.shape, window=2), "avg_pool_vjp"),
                        (lambda: formulas.max_pool(x, window=2), "max_pool"),
                        (lambda: formulas.max_pool_vjp(out, x, out, window=2), "max_pool_vjp"),
                        (lambda: formulas.global_mean(x), "image_mean"),
                        (lambda: formulas.global_mean_vjp(out[:, 0, 0], x.shape), "image_mean_vjp")):
        assert launched(run) == [kernel] and waits(run) == 0
