"""Infinities and NaN in a convolution appear exactly where the formula has them, whatever the strategy."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nfnumpy.functional import convolution
from reference_tests.helpers import strategies
from reference_tests.helpers.fast_paths import DTYPES, THREADS, with_threads

BAD = st.sampled_from([np.inf, -np.inf, np.nan])
WINOGRAD = {"WINOGRAD_CHANNELS": 1, "WINOGRAD_TILES": 1}
IMPLICIT = {"IMPLICIT_FEWEST_CHANNELS": 1, "IMPLICIT_OUTPUTS_PER_TAP": 1}
IM2COL = {"IMPLICIT_CHANNELS": 0, "PHASE_CHANNELS": 0}


def with_bad_values(array, bad, places):
    """A copy with `bad` at some places, given as shares of the array's length."""
    array = array.copy()
    for place in places:
        array.reshape(-1)[int(place * (array.size - 1))] = bad
    return array


def expect_same_kinds(fast, formula):
    """The same values are NaN, and the same are infinities of either sign."""
    for kind in (np.isnan, np.isposinf, np.isneginf):
        assert np.array_equal(kind(fast), kind(formula))


@st.composite
def convolutions(draw):
    """(x, weight, cotangent, options), mostly of 3×3 kernels and stride 1 or 2, a third of them depthwise."""
    images, height, width = draw(st.tuples(st.integers(1, 2), st.integers(1, 7), st.integers(1, 7)))
    groups = draw(st.integers(1, 3))
    fan_in, outs = draw(st.one_of(st.just((1, 1)), *[st.tuples(st.integers(1, 3), st.integers(1, 3))] * 2))
    kernel = draw(st.sampled_from([(3, 3), (3, 3), (3, 3), (1, 1), (2, 4), (5, 1), (5, 5)]))
    padding = draw(st.sampled_from(["SAME", "SAME", "VALID", 1, ((0, 2), (3, 0)), 4]))
    stride = draw(st.sampled_from([1, 1, 2, (1, 2)]))
    if not strategies.fits((height, width), kernel, 1, padding):
        padding = "SAME"
    draws, dtype = np.random.default_rng(draw(strategies.seeds)), draw(DTYPES)
    options = {"stride": stride, "padding": padding, "groups": groups}
    x = draws.standard_normal((images, height, width, groups * fan_in)).astype(dtype)
    weight = draws.standard_normal((*kernel, fan_in, groups * outs)).astype(dtype)
    out = convolution.conv2d_windows(x.shape, weight.shape, **options).out
    return x, weight, draws.standard_normal((images, *out, groups * outs)).astype(dtype), options


@settings(max_examples=150)
@given(problem=convolutions(), bad=BAD, places=st.lists(st.floats(0, 1), min_size=1, max_size=2),
       which=st.sampled_from(["x", "weight", "cotangent"]), sizes=st.sampled_from([WINOGRAD, IMPLICIT, IM2COL]),
       block_bytes=st.sampled_from([1, 1 << 20]), count=THREADS)
def test_values_that_are_not_finite_stay_where_they_are(problem, bad, places, which, sizes, block_bytes, count):
    x, weight, cotangent, options = problem
    arrays = {"x": x, "weight": weight, "cotangent": cotangent}
    arrays[which] = with_bad_values(arrays[which], bad, places)
    x, weight, cotangent = arrays.values()
    calls = ((convolution.conv2d, (x, weight)), (convolution.conv2d_x_vjp, (cotangent, weight, x.shape)),
             (convolution.conv2d_weight_vjp, (cotangent, x, weight.shape)))
    sizes = {"WINDOW_BLOCK_BYTES": block_bytes, "WINOGRAD_BLOCK_BYTES": block_bytes, **sizes}
    with np.errstate(invalid="ignore"):
        for function, inputs in calls:
            fast = with_threads(count, function, *inputs, sizes=sizes, **options)
            expect_same_kinds(fast, function.plain(*inputs, **options))


@pytest.mark.parametrize("shape, channels, groups", [((1, 8, 8), 8, 8), ((2, 16, 16), 32, 1)])
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_one_pixel_reaches_its_own_outputs_only(shape, channels, groups, bad):
    """With the sizes of real use: two outputs of 8 channels taken together, and Winograd's tiles."""
    draws = np.random.default_rng(0)
    x = draws.standard_normal((*shape, groups * channels), dtype=np.float32)
    weight = draws.standard_normal((3, 3, channels, groups * channels), dtype=np.float32)
    x[0, 3, 4, 1] = bad
    with np.errstate(invalid="ignore"):
        out = convolution.conv2d(x, weight, None, groups=groups)
        back = convolution.conv2d_weight_vjp(np.ones_like(out), x, weight.shape, groups=groups)
    reached = np.argwhere(~np.isfinite(out).all(axis=-1))
    assert reached.tolist() == [[0, y, x] for y in (2, 3, 4) for x in (3, 4, 5)]
    assert np.isposinf(back).any() == np.isposinf(bad)
