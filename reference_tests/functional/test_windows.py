"""Windows: their options, the pixels they see, and the phases of a transposed convolution."""

import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import InputError
from nfnumpy.functional.convolution import conv2d, conv2d_x_vjp
from nfnumpy.functional.pooling import avg_pool
from nfnumpy.functional.windows import Windows, windows_of
from reference_tests.helpers.strategies import both, convolutions

# A pixel gets at most 4·4·2 products here; twice as many roundings cover products and sums in any order.
TOLERANCE = 64 * np.finfo(np.float64).eps


def ones(*shape):
    return np.ones(shape)


def windows_in(problem):
    x, weight, _ = problem.inputs
    options = {key: value for key, value in problem.options.items() if key != "groups"}
    return Windows(x.shape[1:3], weight.shape[:2], **options)


@given(problem=convolutions())
def test_seen_is_the_range_of_pixels_under_all_taps(problem):
    windows = windows_in(problem)
    for axis in (0, 1):
        for start, stop in itertools.combinations(range(windows.out[axis] + 1), 2):
            pixels = [y * windows.stride[axis] + i * windows.dilation[axis] - windows.padding[axis][0]
                      for y in range(start, stop) for i in range(windows.kernel[axis])]
            assert windows.seen(axis, start, stop) == (min(pixels), max(pixels) + 1)


@given(problem=convolutions())
def test_windows_follow_from_their_output_and_start(problem):
    windows = windows_in(problem)
    again = Windows.with_output(windows.image, windows.kernel, windows.out, stride=windows.stride,
                                dilation=windows.dilation, before=windows.before)
    for axis in (0, 1):
        extent = windows.seen(axis, 0, windows.out[axis])
        assert again.seen(axis, 0, windows.out[axis]) == extent
        assert again.padding[axis] == (windows.before[axis], extent[1] - windows.image[axis])


def one_group(cotangent, weight, windows, phase):
    """The pixels of a phase: the correlation of the cotangent with the phase's taps, by padding, cropping, conv2d."""
    pixels, taps, seen = windows.transposed(phase)
    if not all(taps) or not all(seen.out):
        return pixels, 0.0
    framed = np.zeros((len(cotangent), *(hi - lo for lo, hi in (seen.seen(a, 0, seen.out[a]) for a in (0, 1))),
                       cotangent.shape[3]))
    target, source = [slice(None)], [slice(None)]
    for axis in (0, 1):
        low, high = seen.seen(axis, 0, seen.out[axis])
        first, last = max(low, 0), max(min(high, windows.out[axis]), max(low, 0))
        target.append(slice(first - low, last - low))
        source.append(slice(first, last))
    framed[tuple(target)] = cotangent[tuple(source)]
    kernel = weight[np.ix_(*taps)].transpose(0, 1, 3, 2)
    return pixels, conv2d(framed, kernel, padding="VALID", dilation=seen.dilation)


@given(problem=convolutions())
def test_the_phases_together_are_the_vjp_of_the_input(problem):
    x, weight, _ = problem.inputs
    options = {**problem.options, "groups": 1}
    x = x[..., :weight.shape[2]]
    windows = windows_in(problem)
    cotangent = np.random.default_rng(1).standard_normal((len(x), *windows.out, weight.shape[3]))
    got = np.full(x.shape, np.nan)
    for phase in itertools.product(*map(range, windows.stride)):
        pixels, values = one_group(cotangent, weight, windows, phase)
        got[:, *pixels] = values
    expected = conv2d_x_vjp(cotangent, weight, x.shape, **options)
    magnitude = conv2d_x_vjp(abs(cotangent), abs(weight), x.shape, **options)
    assert np.all(np.abs(got - expected) <= TOLERANCE * magnitude)


# ---- whole numbers


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8, np.array], ids=["int", "int64", "uint8", "0-d array"])
def test_every_kind_of_whole_number_is_taken(kind):
    x, weight = ones(1, 5, 5, 2), ones(2, 2, 1, 2)
    given_ones = {"stride": kind(2), "dilation": kind(2), "groups": kind(2), "padding": kind(1)}
    plain = conv2d(x, weight, stride=2, dilation=2, groups=2, padding=1)
    np.testing.assert_array_equal(conv2d(x, weight, **given_ones), plain)
    sides = ((kind(1), kind(1)), (kind(1), kind(1)))
    np.testing.assert_array_equal(conv2d(x, weight, **{**given_ones, "padding": sides}), plain)
    pooled = avg_pool(x, window=kind(2), stride=(kind(1), kind(1)))
    np.testing.assert_array_equal(pooled, avg_pool(x, window=2, stride=1))


NOT_WHOLE = [True, np.True_, 1.0, 0.9, np.float64(1), float("nan"), "1", None, 1j, [1.0, 1.0], (True, 1)]


@pytest.mark.parametrize("name", ["stride", "dilation", "padding", "groups"])
@pytest.mark.parametrize("value", NOT_WHOLE, ids=repr)
def test_conv2d_refuses_what_is_no_whole_number(name, value):
    with pytest.raises(InputError, match=f"^{name}: expected .*got"):
        conv2d(ones(1, 5, 5, 1), ones(2, 2, 1, 1), **{name: value})


@pytest.mark.parametrize("edge", [0.9, 1.0, True, np.True_, "1", None, -1])
@pytest.mark.parametrize("side", range(4))
def test_every_edge_of_an_explicit_padding_is_whole(edge, side):
    edges = [0, 0, 0, 0]
    edges[side] = edge
    with pytest.raises(InputError, match="^padding: expected"):
        conv2d(ones(1, 5, 5, 1), ones(2, 2, 1, 1), padding=(tuple(edges[:2]), tuple(edges[2:])))


@pytest.mark.parametrize("value", [v for v in NOT_WHOLE if v is not None] + [0, -1, (1, 2, 3)], ids=repr)
def test_pooling_refuses_windows_that_are_not_whole(value):
    with pytest.raises(InputError, match="^window: expected .*got"):
        avg_pool(ones(1, 5, 5, 1), window=value)


@given(size=st.integers(0, 3), kernel=st.integers(0, 2))
def test_a_kernel_without_taps_is_refused(size, kernel):
    if kernel:
        assert min(both(Windows((size, size), (kernel, kernel)).out)) >= 0
    else:
        with pytest.raises(InputError, match="does not fit"):
            Windows((size, size), (kernel, 1))


def test_the_same_geometry_is_described_once():
    """The same numbers give the same object; arguments that only compare equal to checked ones are refused as ever."""
    geometry = {"stride": 1, "padding": ((0, 1), (1, 0)), "dilation": (1, 2)}
    first = windows_of((7, 6), (3, 2), **geometry)
    assert windows_of((7, 6), (3, 2), stride=(1, 1), padding=[[0, 1], [1, 0]], dilation=[1, 2]) is first
    assert first.transposed((0, 0)) is first.transposed((0, 0))
    for wrong in ({"stride": True}, {"stride": 1.0}, {"dilation": (True, 2)}, {"padding": ((False, 1), (1, 0))},
                  {"padding": "same"}):
        with pytest.raises(InputError):
            windows_of((7, 6), (3, 2), **geometry | wrong)
