"""Convolution held to its definition: shapes at the edge of the possible, memory layouts, algebra, and errors.

Sums of float64 products are compared at TERMS epsilons of their magnitudes (`magnitude`), TERMS = 128 being above the
number of terms in any sum here (at most 4·4·6 per value, 2·6·6 per weight), with the 25 roundings of a pairwise sum
over all of them.
"""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import InputError, Tensor, ops
from nfnumpy.functional.convolution import conv2d, conv2d_weight_vjp, conv2d_x_vjp
from nfnumpy.functional.windows import Windows
from reference_tests.helpers.strategies import as_float32_holds, both, convolutions

TERMS = 128
EPSILON = np.finfo(np.float64).eps


def random(*shape, seed=0):
    return as_float32_holds(np.random.default_rng(seed).standard_normal(shape))


def assert_close(got, expected, magnitude):
    assert got.shape == expected.shape
    assert np.all(np.abs(got - expected) <= TERMS * EPSILON * magnitude)


def same_frame(size, kernel, stride, dilation):
    """TensorFlow's: out = ceil(in/stride); total max((out-1)·stride + (k-1)·dilation + 1 - in, 0); odd pixel last."""
    total = max((math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return math.floor(total / 2), math.ceil(total / 2)


def frame_of(image, kernel, stride, dilation, padding):
    if padding == "SAME":
        return tuple(same_frame(*axis) for axis in zip(image, kernel, stride, dilation, strict=True))
    return {"VALID": ((0, 0), (0, 0))}.get(padding, padding) if isinstance(padding, str) else \
        ((padding, padding),) * 2 if isinstance(padding, int) else padding


def by_loops(x, weight, bias, *, stride, padding, dilation, groups):
    """The definition, one product at a time: every output pixel and channel, every kernel tap, every input channel."""
    (n, h, w, _), (kh, kw, fan, outs) = x.shape, weight.shape
    (sy, sx), (dy, dx) = both(stride), both(dilation)
    (top, bottom), (left, right) = frame_of((h, w), (kh, kw), (sy, sx), (dy, dx), padding)
    rows, columns = (h + top + bottom - (kh - 1) * dy - 1) // sy + 1, (w + left + right - (kw - 1) * dx - 1) // sx + 1
    out = np.zeros((n, rows, columns, outs)) + (0 if bias is None else bias)
    for y, z, o, i, j, c in np.ndindex(rows, columns, outs, kh, kw, fan):
        row, column = y * sy + i * dy - top, z * sx + j * dx - left
        if 0 <= row < h and 0 <= column < w:
            out[:, y, z, o] += x[:, row, column, o // (outs // groups) * fan + c] * weight[i, j, c, o]
    return out


# ---- the definition


@given(problem=convolutions())
def test_convolution_is_its_sum_over_taps_and_channels(problem):
    x, weight, bias = problem.inputs
    magnitude = by_loops(abs(x), abs(weight), None if bias is None else abs(bias), **problem.options)
    assert_close(conv2d(x, weight, bias, **problem.options), by_loops(x, weight, bias, **problem.options), magnitude)


@given(size=st.integers(1, 40), kernel=st.integers(1, 9), stride=st.integers(1, 9), dilation=st.integers(1, 4))
def test_same_padding_has_its_odd_pixel_bottom_right(size, kernel, stride,
                                                                                       dilation):
    windows = Windows((size, 1), (kernel, 1), stride=stride, padding="SAME", dilation=dilation)
    before, after = windows.padding[0]
    assert windows.out[0] == math.ceil(size / stride)
    assert (before, after) == same_frame(size, kernel, stride, dilation)
    assert after - before in (0, 1)


@given(size=st.integers(1, 40), kernel=st.integers(1, 9), stride=st.integers(1, 9))
def test_every_window_of_same_padding_sees_a_real_pixel(size, kernel, stride):
    (before, _), _ = (windows := Windows((size, 1), (kernel, 1), stride=stride, padding="SAME")).padding
    for position in range(windows.out[0]):
        first = position * stride - before
        assert first < size and first + kernel > 0


# ---- linearity and adjointness


@given(problem=convolutions(), factor=st.sampled_from([-2.0, 0.5, 3.0]))
def test_convolution_is_linear_in_the_image_and_in_the_weight(problem, factor):
    x, weight, _ = problem.inputs
    x2, weight2 = (random(*a.shape, seed=9) for a in (x, weight))
    magnitude = (1 + abs(factor)) * conv2d(abs(x) + abs(x2), abs(weight) + abs(weight2), None, **problem.options)
    assert_close(conv2d(x + factor * x2, weight, None, **problem.options),
                 conv2d(x, weight, None, **problem.options) + factor * conv2d(x2, weight, None, **problem.options),
                 magnitude)
    assert_close(conv2d(x, weight + factor * weight2, None, **problem.options),
                 conv2d(x, weight, None, **problem.options) + factor * conv2d(x, weight2, None, **problem.options),
                 magnitude)


@given(problem=convolutions())
def test_derivatives_are_the_adjoints_of_convolution(problem):
    """⟨conv(x, w), c⟩ = ⟨x, x_vjp(c)⟩ = ⟨w, weight_vjp(c)⟩, all three being sums of the same products."""
    x, weight, _ = problem.inputs
    out = conv2d(x, weight, None, **problem.options)
    cotangent = random(*out.shape, seed=3)
    magnitude = np.sum(conv2d(abs(x), abs(weight), None, **problem.options) * abs(cotangent))
    inner = np.sum(out * cotangent)
    assert_close(np.sum(x * conv2d_x_vjp(cotangent, weight, x.shape, **problem.options)), inner, magnitude)
    assert_close(np.sum(weight * conv2d_weight_vjp(cotangent, x, weight.shape, **problem.options)), inner, magnitude)


# ---- odd shapes


def gradients(x, weight, bias, **options):
    """(value, dx, dweight, dbias) with a fixed random cotangent."""
    tensors = [Tensor(a, requires_grad=True) for a in (x, weight, bias)]
    out = ops.conv2d(*tensors, **options)
    out.backward(random(*out.shape, seed=5))
    return out.data, *(t.grad for t in tensors)


def magnitudes_of(x, weight, bias, options):
    """The sums of magnitudes of what `gradients` adds up, element by element."""
    x, weight, bias = abs(x), abs(weight), abs(bias)
    value = conv2d(x, weight, bias, **options)
    cotangent = abs(random(*value.shape, seed=5))
    return (value, conv2d_x_vjp(cotangent, weight, x.shape, **options),
            conv2d_weight_vjp(cotangent, x, weight.shape, **options), cotangent.sum(axis=(0, 1, 2)))


def test_a_1x1_kernel_on_a_1x1_image_is_a_matrix_product():
    x, weight, bias = random(2, 1, 1, 3), random(1, 1, 3, 4), random(4)
    assert_close(conv2d(x, weight, bias)[:, 0, 0, :], x[:, 0, 0, :] @ weight[0, 0] + bias, 10.0)


def test_a_3x3_kernel_on_a_1x1_image_sees_only_its_centre():
    x, weight, bias = random(1, 1, 1, 3), random(3, 3, 3, 2), np.zeros(2)
    value, _, dweight, _ = gradients(x, weight, bias)
    assert_close(value, conv2d(x, weight[1:2, 1:2], None), 10.0)
    assert np.count_nonzero(dweight[1, 1]) == dweight[1, 1].size == np.count_nonzero(dweight)


def test_of_a_kernel_beyond_the_image_the_middle_counts():
    x, weight = random(1, 2, 2, 1), random(5, 5, 1, 1)
    assert_close(conv2d(x, weight, None), conv2d(x, weight[1:4, 1:4], None), 20.0)


def test_a_stride_beyond_the_kernel_skips_pixels():
    x, weight, bias = random(1, 7, 7, 2), random(1, 1, 2, 3), random(3)
    value, dx, _, _ = gradients(x, weight, bias, stride=3)
    assert_close(value, conv2d(x[:, ::3, ::3], weight, bias), 20.0)
    seen = np.zeros((7, 7), dtype=bool)
    seen[::3, ::3] = True
    assert np.all(dx[:, ~seen] == 0.0) and np.all(dx[:, seen] != 0.0)


def test_groups_equal_to_channels_filter_each_channel_alone():
    x, weight, bias = random(2, 5, 4, 3), random(3, 2, 1, 6), random(6)
    alone = [conv2d(x[..., c:c + 1], weight[..., 2 * c:2 * c + 2], bias[2 * c:2 * c + 2]) for c in range(3)]
    assert_close(conv2d(x, weight, bias, groups=3), np.concatenate(alone, axis=-1), 40.0)


def test_dilation_is_a_kernel_with_zeros_between_its_taps():
    x, weight = random(1, 7, 8, 2), random(3, 2, 2, 2)
    spread = np.zeros((5, 4, 2, 2))
    spread[::2, ::3] = weight
    assert_close(conv2d(x, weight, None, dilation=(2, 3)), conv2d(x, spread, None), 60.0)


def test_explicit_padding_may_differ_on_all_four_sides():
    x, weight = random(2, 3, 4, 2), random(2, 3, 2, 2)
    framed = np.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0)))
    np.testing.assert_array_equal(conv2d(x, weight, None, padding=((1, 0), (0, 2))),
                                  conv2d(framed, weight, None, padding="VALID"))


@pytest.mark.parametrize("padding", ["SAME", "VALID", 1, ((0, 1), (2, 0))])
@pytest.mark.parametrize("shape", [(0, 4, 4, 2), (2, 4, 4, 0), (2, 0, 4, 2)], ids=["batch", "channels", "height"])
def test_zero_size_images_give_zero_weight_gradients(shape, padding):
    if shape[1] == 0 and padding not in ("SAME", "VALID"):
        padding = ((0, 0), (1, 1))
    value, dx, dweight, dbias = gradients(np.zeros(shape), random(3, 3, shape[3], 2), np.zeros(2), padding=padding)
    assert value.shape[0] == shape[0] and value.shape[3] == 2 and dx.shape == shape
    assert np.all(dweight == 0.0) and dbias.shape == (2,) and np.all(value == 0.0)


# ---- memory


def layouts(x):
    """The same values in other memory: transposed, every second element of a larger array, backwards, read-only."""
    wide = np.zeros(tuple(2 * n for n in x.shape))
    wide[tuple(slice(None, None, 2) for _ in x.shape)] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    return {"transposed": np.ascontiguousarray(x.T).T, "sliced": wide[tuple(slice(None, None, 2) for _ in x.shape)],
            "negative strides": np.flip(np.ascontiguousarray(np.flip(x))), "read-only": frozen}


@pytest.mark.parametrize("layout", layouts(np.zeros(1)))
@given(problem=convolutions())
def test_memory_layout_of_the_inputs_changes_nothing(layout, problem):
    """Within rounding: a matrix product may order its sums by the layout it is given."""
    x, weight, _ = problem.inputs
    bias = random(weight.shape[3])
    plain = gradients(x, weight, bias, **problem.options)
    other = gradients(*(layouts(a)[layout] for a in (x, weight, bias)), **problem.options)
    for got, expected, magnitude in zip(other, plain, magnitudes_of(x, weight, bias, problem.options), strict=True):
        assert_close(got, expected, magnitude)


@given(problem=convolutions())
def test_convolution_and_vjps_leave_inputs_unchanged(problem):
    x, weight, _ = problem.inputs
    inputs = [x, weight, random(weight.shape[3])]
    before = [a.copy() for a in inputs]
    gradients(*inputs, **problem.options)
    for a, b in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(a, b)


# ---- errors


def test_a_kernel_that_does_not_fit_is_an_error():
    with pytest.raises(InputError, match=r"\(3, 5\).*does not fit.*\(4, 4\)"):
        conv2d(random(1, 4, 4, 1), random(3, 5, 1, 1), None, padding="VALID")


def test_a_dilated_kernel_that_does_not_fit_is_an_error():
    with pytest.raises(InputError, match=r"dilation \(2, 2\)"):
        conv2d(random(1, 4, 4, 1), random(3, 3, 1, 1), None, padding="VALID", dilation=2)


@pytest.mark.parametrize(("weight", "groups"), [((1, 1, 3, 4), 1), ((1, 1, 2, 4), 3), ((1, 1, 2, 3), 2)])
def test_groups_that_do_not_divide_the_channels_are_an_error(weight, groups):
    with pytest.raises(InputError, match=r"\(1, 2, 2, 4\).*do not fit groups="):
        conv2d(random(1, 2, 2, 4), random(*weight), None, groups=groups)


@pytest.mark.parametrize(("x", "weight"), [((2, 2, 4), (1, 1, 4, 4)), ((1, 2, 2, 4), (4, 4))])
def test_other_than_four_axes_are_an_error(x, weight):
    with pytest.raises(InputError, match=r"\(N, H, W, in\)"):
        conv2d(random(*x), random(*weight), None)


@pytest.mark.parametrize("options", [{"stride": 0}, {"stride": (1, 2, 3)}, {"stride": 1.5}, {"dilation": 0},
                                     {"padding": "same"}, {"padding": -1}, {"padding": (1, 2)},
                                     {"padding": ((1, -1), (0, 0))},
                                     {"groups": 0}, {"groups": -1}, {"groups": 1.0}])
def test_options_that_mean_nothing_are_an_error_that_names_them(options):
    (name,) = options
    with pytest.raises(InputError, match=f"{name}: expected"):
        conv2d(random(1, 4, 4, 1), random(2, 2, 1, 1), None, **options)


def test_a_bias_of_another_length_is_an_error():
    with pytest.raises(InputError, match="bias"):
        conv2d(random(1, 4, 4, 1), random(2, 2, 1, 3), random(1))
