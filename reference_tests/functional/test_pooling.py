"""Pooling held to its definition: what is averaged, who wins a tie, shapes at the edge, memory layouts, errors."""

import numpy as np
import pytest
from hypothesis import given

from nfnumpy import InputError, Tensor, ops
from nfnumpy.functional.pooling import avg_pool, avg_pool_vjp, max_pool, max_pool_vjp
from reference_tests.functional.test_convolution import frame_of, layouts, random
from reference_tests.helpers.strategies import apart, both, normal, pools

# A window has at most 3·3 pixels: nine roundings of additions, one of the division, at half an epsilon each.
TOLERANCE = 5 * np.finfo(np.float64).eps


def by_loops(x, reduce, *, window, stride, padding):
    """`reduce` over the real pixels under each window, one window at a time."""
    n, h, w, c = x.shape
    kernel, steps = both(window), both(window if stride is None else stride)
    (top, bottom), (left, right) = frame_of((h, w), kernel, steps, (1, 1), padding)
    rows, columns = (h + top + bottom - kernel[0]) // steps[0] + 1, (w + left + right - kernel[1]) // steps[1] + 1
    out = np.zeros((n, rows, columns, c))
    for y, z in np.ndindex(rows, columns):
        first_row, first_column = y * steps[0] - top, z * steps[1] - left
        seen = x[:, max(first_row, 0):first_row + kernel[0], max(first_column, 0):first_column + kernel[1]]
        out[:, y, z] = reduce(seen, axis=(1, 2))
    return out


@given(problem=pools(normal))
def test_average_pool_is_the_mean_of_the_real_pixels(problem):
    (x,) = problem.inputs
    expected = by_loops(x, np.mean, **problem.options)
    got = avg_pool(x, **problem.options)
    assert got.shape == expected.shape
    assert np.all(np.abs(got - expected) <= 2 * TOLERANCE * by_loops(abs(x), np.mean, **problem.options))


@given(problem=pools(normal))
def test_average_pool_of_ones_is_one_even_at_the_border(problem):
    ones = np.ones_like(problem.inputs[0])
    np.testing.assert_array_equal(avg_pool(ones, **problem.options), 1.0)


@given(problem=pools(normal))
def test_max_pool_is_the_greatest_real_pixel_under_each_window(problem):
    (x,) = problem.inputs
    np.testing.assert_array_equal(max_pool(x, **problem.options), by_loops(x, np.max, **problem.options))


@given(problem=pools(lambda random, shape: -5.0 - random.random(shape)))
def test_padding_never_wins_a_max_pool_of_negative_values(problem):
    (x,) = problem.inputs
    assert np.all(np.isin(max_pool(x, **problem.options), x))


def test_the_first_of_equal_pixels_receives_the_gradient():
    x = np.array([[1.0, 2.0], [2.0, 2.0]]).reshape(1, 2, 2, 1)
    out = max_pool(x, window=2)
    back = max_pool_vjp(np.full(out.shape, 3.0), x, out, window=2)
    np.testing.assert_array_equal(back.reshape(2, 2), [[0.0, 3.0], [0.0, 0.0]])


@given(problem=pools(lambda random, shape: random.integers(0, 2, shape).astype(np.float64)))
def test_ties_neither_lose_nor_double_the_gradient_of_a_max_pool(problem):
    (x,) = problem.inputs
    out = max_pool(x, **problem.options)
    back = max_pool_vjp(np.ones_like(out), x, out, **problem.options)
    np.testing.assert_array_equal(back.sum(axis=(1, 2)), np.ones_like(out).sum(axis=(1, 2)))


@given(problem=pools(normal))
def test_the_derivative_of_average_pool_is_its_adjoint(problem):
    """⟨pool(x), c⟩ = ⟨x, vjp(c)⟩: the same products, summed window by window or pixel by pixel."""
    (x,) = problem.inputs
    out = avg_pool(x, **problem.options)
    cotangent = random(*out.shape, seed=2)
    back = avg_pool_vjp(cotangent, x.shape, **problem.options)
    magnitude = np.sum(avg_pool(abs(x), **problem.options) * abs(cotangent))
    assert abs(np.sum(out * cotangent) - np.sum(x * back)) <= (10 + x.size) * np.finfo(float).eps * magnitude


@given(problem=pools(apart))
def test_the_gradient_of_a_max_pool_reaches_only_pixels_that_won(problem):
    (x,) = problem.inputs
    out = max_pool(x, **problem.options)
    back = max_pool_vjp(np.ones_like(out), x, out, **problem.options)
    assert np.all(np.isin(x[back != 0.0], out)) and np.sum(back) == out.size


def test_a_window_beyond_the_image_sees_all_of_it():
    x = random(2, 2, 2, 3)
    np.testing.assert_array_equal(max_pool(x, window=3, stride=2), x.max(axis=(1, 2), keepdims=True))
    np.testing.assert_allclose(avg_pool(x, window=3, stride=2), x.mean(axis=(1, 2), keepdims=True), rtol=0, atol=1e-15)


def test_a_1x1_image_pools_to_itself():
    x = random(1, 1, 1, 4)
    np.testing.assert_array_equal(max_pool(x, window=3, stride=2), x)
    np.testing.assert_array_equal(avg_pool(x, window=2, stride=2), x)


def test_a_stride_beyond_the_window_skips_pixels():
    x = Tensor(random(1, 7, 7, 1), requires_grad=True)
    for pool in (ops.avg_pool, ops.max_pool):
        x.grad = None
        out = pool(x, window=1, stride=3)
        np.testing.assert_array_equal(out.data, x.data[:, ::3, ::3])
        out.sum().backward()
        assert np.count_nonzero(x.grad) == 9 and np.all(x.grad[:, ::3, ::3] == 1.0)


@pytest.mark.parametrize("pool", [ops.avg_pool, ops.max_pool])
@pytest.mark.parametrize("shape", [(0, 4, 4, 2), (2, 4, 4, 0), (2, 0, 4, 2)], ids=["batch", "channels", "height"])
def test_zero_size_images_pool_to_zero_size_images(pool, shape):
    x = Tensor(np.zeros(shape), requires_grad=True)
    out = pool(x, window=2)
    assert out.shape == (shape[0], shape[1] // 2, 2, shape[3])
    out.sum().backward()
    assert x.grad.shape == shape


@pytest.mark.parametrize("layout", layouts(np.zeros(1)))
@pytest.mark.parametrize("pool", [ops.avg_pool, ops.max_pool])
@given(problem=pools(apart))
def test_memory_layout_of_the_input_changes_no_bit(pool, layout, problem):
    results = []
    for x in (problem.inputs[0], layouts(problem.inputs[0])[layout]):
        tensor = Tensor(x, requires_grad=True)
        out = pool(tensor, **problem.options)
        out.backward(random(*out.shape, seed=4))
        results.append((out.data, tensor.grad))
    for got, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("pool", [avg_pool, max_pool])
def test_a_window_that_does_not_fit_is_an_error(pool):
    with pytest.raises(InputError, match=r"\(3, 5\).*does not fit.*\(4, 4\)"):
        pool(random(1, 4, 4, 1), window=(3, 5), padding="VALID")


@pytest.mark.parametrize("pool", [avg_pool, max_pool])
@pytest.mark.parametrize("options", [{"window": 0}, {"window": (2, 2, 2)}, {"window": 2, "stride": 0}])
def test_windows_and_strides_that_mean_nothing_are_errors(pool, options):
    with pytest.raises(InputError, match=f"{list(options)[-1]}: expected"):
        pool(random(1, 4, 4, 1), **options)


@pytest.mark.parametrize("pool", [avg_pool, max_pool])
def test_other_than_four_axes_are_an_error(pool):
    with pytest.raises(InputError, match=r"\(N, H, W, C\)"):
        pool(random(4, 4, 1), window=2)
