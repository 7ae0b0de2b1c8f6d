"""Convolutions of every channel by itself are the formula's sums, in another order, with the same bits on any threads.
"""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nfnumpy.functional import convolution
from nfnumpy.functional.fast_numpy.convolution import im2col, implicit_im2col, strided_input_vjp
from nfnumpy.functional.fast_numpy.convolution.taps_inside import parts_of, runs_of
from nfnumpy.functional.windows import Windows
from reference_tests.helpers import strategies
from reference_tests.helpers.fast_paths import (
    DTYPES,
    LAYOUTS,
    THREADS,
    expect_close,
    gemm_roundings,
    in_layout,
    with_threads,
)

PADDINGS = st.sampled_from(["SAME", "SAME", "VALID", 1, 2, ((0, 1), (2, 0)), ((2, 4), (1, 3))])
SIDES = st.tuples(st.integers(1, 9), st.integers(1, 9))
KERNELS = st.one_of(st.sampled_from([(3, 3), (5, 5)]), st.tuples(st.integers(1, 5), st.integers(1, 5)))
STEPS = st.tuples(st.integers(1, 3), st.integers(1, 3))
CUTS = st.fixed_dictionaries({"DEPTHWISE_RUN_VALUES": st.sampled_from([1, 7, 6144]),
                              "DEPTHWISE_BLOCK_PRODUCTS": st.sampled_from([20, 1000]),
                              "DEPTHWISE_FRAMED_CHANNELS": st.sampled_from([3, 240]),
                              "LONG_ROW_VALUES": st.sampled_from([3, 384])})


@st.composite
def depthwise(draw):
    """(x, weight, bias or None, cotangent, options) of images with up to 5 channels."""
    side, kernel, stride, dilation = draw(SIDES), draw(KERNELS), draw(STEPS), draw(strategies.positive_pairs(2))
    padding = draw(PADDINGS.filter(lambda padding: strategies.fits(side, kernel, dilation, padding)))
    images, channels, dtype = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(DTYPES)
    options = {"stride": stride, "dilation": dilation, "padding": padding, "groups": channels}
    draws, layout = np.random.default_rng(draw(strategies.seeds)), draw(LAYOUTS)
    shapes = (images, *side, channels), (*kernel, 1, channels), (channels,)
    x, weight, bias = (in_layout(draws.standard_normal(shape).astype(dtype), layout) for shape in shapes)
    out = convolution.conv2d_windows(x.shape, weight.shape, **options).out
    cotangent = in_layout(draws.standard_normal((images, *out, channels)).astype(dtype), layout)
    return x, weight, bias if draw(st.booleans()) else None, cotangent, options


@settings(max_examples=200)
@given(problem=depthwise(), count=THREADS, sizes=CUTS)
def test_all_three_sums_are_the_formulas_within_rounding(problem, count, sizes):
    x, weight, bias, cotangent, options = problem
    kernel, magnitude = weight.shape[:2], [None if array is None else np.abs(array) for array in problem[:4]]
    expect_close(with_threads(count, convolution.conv2d, x, weight, bias, sizes=sizes, **options),
                 convolution.conv2d.plain(x, weight, bias, **options), gemm_roundings(*kernel),
                 convolution.conv2d.plain(*magnitude[:3], **options))
    expect_close(with_threads(count, convolution.conv2d_x_vjp, cotangent, weight, x.shape, sizes=sizes, **options),
                 convolution.conv2d_x_vjp.plain(cotangent, weight, x.shape, **options), gemm_roundings(*kernel),
                 convolution.conv2d_x_vjp.plain(magnitude[3], magnitude[1], x.shape, **options))
    expect_close(with_threads(count, convolution.conv2d_weight_vjp, cotangent, x, weight.shape, sizes=sizes, **options),
                 convolution.conv2d_weight_vjp.plain(cotangent, x, weight.shape, **options),
                 gemm_roundings(*cotangent.shape[:3]),
                 convolution.conv2d_weight_vjp.plain(magnitude[3], magnitude[0], weight.shape, **options))


@settings(max_examples=50)
@given(problem=depthwise(), sizes=CUTS)
def test_any_number_of_threads_gives_the_same_bits(problem, sizes):
    x, weight, bias, cotangent, options = problem
    for function, arrays in ((convolution.conv2d, (x, weight, bias)),
                             (convolution.conv2d_x_vjp, (cotangent, weight, x.shape)),
                             (convolution.conv2d_weight_vjp, (cotangent, x, weight.shape))):
        first, *others = (with_threads(count, function, *arrays, sizes=sizes, **options) for count in (1, 2, 3))
        assert all(np.array_equal(first, other) for other in others)


def seen_by_definition(seen, axis, output):
    """The taps along an axis under which an output sees a pixel, and these pixels."""
    first = output * seen.stride[axis] - seen.before[axis]
    pixels = [(tap, first + tap * seen.dilation[axis]) for tap in range(seen.kernel[axis])]
    return [(tap, pixel) for tap, pixel in pixels if 0 <= pixel < seen.image[axis]]


@given(size=st.integers(1, 9), kernel=st.integers(1, 5), stride=st.integers(1, 3), dilation=st.integers(1, 3),
       before=st.integers(-3, 8), out=st.integers(1, 12))
def test_runs_of_outputs_have_the_taps_and_pixels_of_the_definition(size, kernel, stride, dilation, before, out):
    seen = Windows.with_output((size, 1), (kernel, 1), (out, 1), stride=(stride, 1), dilation=(dilation, 1),
                               before=(before, 0))
    found = {}
    for run in runs_of(seen, 0):
        for step, output in enumerate(range(run.outputs.start, run.outputs.stop)):
            taps = range(run.taps.start, run.taps.stop)
            found[output] = [(tap, run.pixel + step * stride + k * dilation) for k, tap in enumerate(taps)]
    assert found == {output: seen_by_definition(seen, 0, output) for output in range(out)}


@given(size=SIDES, kernel=st.integers(1, 5), rows=st.tuples(st.integers(0, 8), st.integers(1, 9)),
       longest=st.integers(1, 9))
def test_parts_cover_every_output_of_the_rows_once(size, kernel, rows, longest):
    seen = Windows(size, (kernel, kernel))
    start, stop = min(rows[0], size[0] - 1), min(rows[0] + rows[1], size[0])
    covered = np.zeros((stop - start, seen.out[1]), int)
    for part in parts_of(seen, start, stop, 2, 8, longest):
        covered[part.outputs[1:]] += 1
    assert np.all(covered == 1)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side, kernel", [(8, 3), (7, 5), (1, 5)])
def test_no_other_strategy_is_asked(monkeypatch, side, kernel, stride):
    """Without this the properties above would also hold if all convolutions were left to im2col."""
    for strategy in (im2col, implicit_im2col):
        monkeypatch.setattr(strategy, "suits", lambda problem: False)
    monkeypatch.setattr(strided_input_vjp, "x_vjp", None)
    x, weight, options = np.ones((1, side, side, 3)), np.ones((kernel, kernel, 1, 3)), {"stride": stride, "groups": 3}
    out = convolution.conv2d(x, weight, None, **options)
    assert out.max() == convolution.conv2d.plain(x, weight, None, **options).max()
    assert convolution.conv2d_x_vjp(out, weight, x.shape, **options).any()
    assert convolution.conv2d_weight_vjp(out, x, weight.shape, **options).any()
