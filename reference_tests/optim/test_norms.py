"""Norms, and what is divided by them, at every magnitude that a dtype has: formulas, fast paths and kernels.

Oracle: the same equations in NumPy's longdouble, whose exponent reaches from 1e-4900 to 1e4900 on x86 (a test says so).
Rounding: a norm of n numbers is (n + 3)/2 epsilons off at most; a clipped entry depends on two norms and takes 6 more
operations. So all comparisons allow (2n + 10) epsilons of the dtype that is computed in, one of the result's dtype, and
the smallest number of that dtype, to which results near 0 are rounded.
"""

import cupy
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy.optim import (
    adaptive_gradient_clip,
    clip_by_global_norm,
    clipped_update,
    fast_cupy,
    global_norm,
    sam_perturb,
    scaled_global_norm,
    unitwise_norm,
)
from reference_tests.helpers.fast_paths import with_threads

LONG = np.longdouble
HALF = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
FULL = [np.dtype(np.float32), np.dtype(np.float64)]
SHAPES = st.sampled_from([(), (1,), (7,), (5, 3), (40, 2), (3, 3, 2, 4), (1, 1, 1, 6)])
PATHS = st.sampled_from(["formula", "numpy", "cupy"])
UPDATE = {"lr": 1.0, "momentum": 0.0, "nesterov": False}  # the new velocity is the clipped gradient


def limits(dtype):
    return ml_dtypes.finfo(dtype)


def computed_in(dtype):
    """The dtype that sums of this dtype are taken in."""
    return np.dtype(np.float32) if dtype in HALF else dtype


@st.composite
def arrays(draw, dtype, shape, most=1.0):
    """Normal numbers, some 0, every output unit at a magnitude between the dtype's smallest number and most·largest."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    lowest, highest = (np.log2(LONG(value)) for value in (limits(dtype).smallest_subnormal, limits(dtype).max))
    parts = draw(st.lists(st.floats(0.0, 1.0), min_size=shape[-1] if shape else 1, max_size=shape[-1] if shape else 1))
    parts = np.asarray(parts if len(shape) > 1 else parts[0])
    signs = random.standard_normal(shape) * (random.random(shape) < 0.8)
    values = signs * LONG(2) ** (lowest + parts * (highest - lowest))
    largest = LONG(limits(dtype).max) * LONG(most)
    return np.asarray(np.clip(values, -largest, largest)).astype(dtype)


@st.composite
def pairs(draw, dtypes):
    """(gradient, parameter) of one dtype and shape; the parameter's norms are numbers of the dtype."""
    dtype, shape = draw(st.sampled_from(dtypes)), draw(SHAPES)
    return draw(arrays(dtype, shape)), draw(arrays(dtype, shape, most=1 / 16))


def units_of(array):
    """The units of an array, as a list of flat arrays."""
    if np.squeeze(array).ndim <= 1:
        return [array.reshape(-1)]
    return [array[..., k].reshape(-1) for k in range(array.shape[-1])]


def long_norm(values):
    return np.sqrt(np.sum(np.square(values.astype(LONG))))


def expect_close(results, expected, count, dtype):
    """See the head of this file; where the expected value is above the dtype's largest, the result is infinite."""
    rounding = (2 * count + 10) * LONG(limits(computed_in(dtype)).eps) + LONG(limits(dtype).eps)
    results, expected = np.atleast_1d(results), np.atleast_1d(np.asarray(expected, LONG))
    assert results.dtype == dtype
    largest = LONG(limits(dtype).max)
    for result, value in zip(results.reshape(-1), expected.reshape(-1), strict=True):
        if abs(value) > largest * (1 + rounding):
            assert np.isinf(result) and (result > 0) == (value > 0)
        elif abs(value) < largest * (1 - rounding):
            assert abs(LONG(result) - value) <= rounding * abs(value) + LONG(limits(dtype).smallest_subnormal)


def clipped_by_hand(grad, param, clipping, eps):
    """(expected, whether a unit is so near its limit that either answer is right), lists with one entry a unit."""
    expected, doubtful = [], []
    smallest = LONG(limits(computed_in(grad.dtype)).smallest_subnormal)
    for g, w in zip(units_of(grad), units_of(param), strict=True):
        allowed = LONG(clipping) * max(long_norm(w), LONG(eps))
        norm = long_norm(g)
        factor = allowed / max(norm, LONG("1e-6")) if norm > allowed else LONG(1)
        expected.append(g.astype(LONG) * factor)
        rounding = (2 * g.size + 10) * LONG(limits(computed_in(grad.dtype)).eps)
        doubtful.append(abs(norm - allowed) <= rounding * allowed + smallest)
    return expected, doubtful


def run(path, formula, fast, *lists, **options):
    """The results, on the host, of a formula, of its fast path on NumPy on two threads, or of the kernels."""
    if path == "formula":
        return formula.plain(*lists, **options)
    if path == "numpy":
        return with_threads(2, lambda: formula(*lists, **options))
    results = fast(*([cupy.asarray(array) for array in arrays] for arrays in lists), **options)
    return [[cupy.asnumpy(array) for array in result] if isinstance(result, list) else cupy.asnumpy(result)
            for result in results]


def test_the_oracle_has_a_wider_range_than_every_dtype():
    assert np.finfo(LONG).maxexp > 2 * np.finfo(np.float64).maxexp + 64
    assert np.finfo(LONG).minexp < 2 * np.finfo(np.float64).minexp - 128


@given(st.sampled_from(HALF + FULL).flatmap(lambda dtype: SHAPES.flatmap(lambda shape: arrays(dtype, shape))))
def test_unitwise_norms_are_right_at_every_magnitude(w):
    with np.errstate(over="ignore"):
        norms = unitwise_norm(w)
    expect_close(norms, [long_norm(unit) for unit in units_of(w)], w.size, w.dtype)


@given(st.data(), st.sampled_from(HALF + FULL), PATHS)
def test_the_global_norm_is_right_at_every_magnitude(data, dtype, path):
    shapes = data.draw(st.lists(SHAPES, min_size=1, max_size=4))
    given_arrays = [data.draw(arrays(dtype, shape)) for shape in shapes]
    expected = np.sqrt(sum(long_norm(array) ** 2 for array in given_arrays))
    if dtype in HALF:
        path = "formula"  # the others leave them to it
    norm, by = run(path, scaled_global_norm, fast_cupy.multi_tensor.scaled_global_norm, given_arrays)
    count = sum(array.size for array in given_arrays)
    assert np.log2(by) % 1 == 0
    expect_close(norm, expected * LONG(by), count, computed_in(dtype))
    with np.errstate(over="ignore"):
        expect_close(global_norm(given_arrays), expected, count, dtype)


@pytest.mark.parametrize("path", ["formula", "numpy", "cupy"])
@pytest.mark.parametrize("dtype, size", [("float32", 1.5e19), ("float64", 1.2e154)])
def test_a_sum_of_finite_squares_that_overflows_is_scaled(dtype, size, path):
    """Every tensor's own sum of squares is a number of the dtype, only that of all is not."""
    given_arrays = [np.full(1, size, dtype) for _ in range(4)]
    norm, by = run(path, scaled_global_norm, fast_cupy.multi_tensor.scaled_global_norm, given_arrays)
    expect_close(norm, 2 * given_arrays[0].astype(LONG) * LONG(by), 4, np.dtype(dtype))


@given(pairs(HALF + FULL), st.sampled_from([0.01, 1.0]), st.sampled_from([1e-3, 1e-10]))
def test_clipping_is_right_at_every_magnitude(pair, clipping, eps):
    grad, param = pair
    expected, doubtful = clipped_by_hand(grad, param, clipping, eps)
    clipped = adaptive_gradient_clip(grad, param, clipping=clipping, eps=eps)
    assert clipped.dtype == grad.dtype
    for result, value, unclear in zip(units_of(clipped), expected, doubtful, strict=True):
        if not unclear:
            expect_close(result, value, result.size, grad.dtype)


@given(pairs(FULL), st.sampled_from([0.01, 1.0]), st.sampled_from([1e-3, 1e-10]), PATHS)
def test_an_update_clips_right_at_every_magnitude(pair, clipping, eps, path):
    grad, param = pair
    expected, doubtful = clipped_by_hand(grad, param, clipping, eps)
    zeros = np.zeros_like(grad)
    with np.errstate(over="ignore"):
        _, (velocity,), count = run(path, clipped_update, fast_cupy.updates.clipped_update, [param], [grad],
                                    [zeros], weight_decays=[0.0], clippings=[clipping], eps=eps, **UPDATE)
    for result, value, unclear in zip(units_of(velocity), expected, doubtful, strict=True):
        if not unclear:
            expect_close(result, value, result.size, grad.dtype)
    shortened = sum(bool(np.any(value != unit)) for value, unit in zip(expected, units_of(grad), strict=True))
    assert abs(int(count[0]) - shortened) <= sum(doubtful)


@pytest.mark.parametrize("path", ["formula", "numpy", "cupy"])
@pytest.mark.parametrize("shape", [(4, 3), (6,)])
@pytest.mark.parametrize("dtype, grad_size, param_size, eps", [
    ("float32", 1e20, 1.0, 1e-3), ("float32", 1e30, 1e25, 1e-3), ("float32", 1e38, 1e-3, 1e-3),
    ("float32", 1e-12, 1e-25, 1e-20), ("float32", 1e-18, 1e-26, 1e-32), ("float64", 1e200, 1.0, 1e-3),
    ("float64", 1e250, 1e200, 1e-3), ("float64", 1e-12, 1e-200, 1e-180), ("float64", 1e-150, 1e-200, 1e-250)])
def test_an_update_clips_large_and_small_units(dtype, grad_size, param_size, eps, shape, path):
    """Each with squares out of range in the gradient, the parameter or both, above what is allowed."""
    random = np.random.default_rng(8)
    grad, param = (np.asarray(size * random.uniform(0.5, 1.0, shape)).astype(dtype) for size in (grad_size, param_size))
    expected, _ = clipped_by_hand(grad, param, 0.01, eps)
    _, (velocity,), count = run(path, clipped_update, fast_cupy.updates.clipped_update, [param], [grad],
                                [np.zeros_like(grad)], weight_decays=[0.0], clippings=[0.01], eps=eps, **UPDATE)
    assert int(count[0]) == len(expected)
    for result, value in zip(units_of(velocity), expected, strict=True):
        expect_close(result, value, result.size, grad.dtype)


@given(st.data(), st.sampled_from(FULL), PATHS)
def test_the_ascent_is_right_at_every_magnitude(data, dtype, path):
    """From weights of 0, so that the result is e itself."""
    shapes = data.draw(st.lists(SHAPES, min_size=1, max_size=3))
    grads = [data.draw(arrays(dtype, shape)) for shape in shapes]
    norm = np.sqrt(sum(long_norm(grad) ** 2 for grad in grads))
    results = run(path, sam_perturb, fast_cupy.multi_tensor.sam_perturb, [np.zeros_like(grad) for grad in grads], grads,
                  rho=0.05)
    if path == "cupy":
        results = [np.asarray(result) for result in results]
    for result, grad in zip(results, grads, strict=True):
        expected = LONG(0.05) * grad.astype(LONG) / norm if norm > 0 else np.zeros(grad.shape, LONG)
        expect_close(result, expected, sum(grad.size for grad in grads), dtype)


@given(st.data(), st.sampled_from(HALF + FULL), st.sampled_from([1e-3, 1.0, 1e4]))
def test_clipping_by_the_global_norm_is_right_everywhere(data, dtype, max_norm):
    grads = [data.draw(arrays(dtype, shape)) for shape in data.draw(st.lists(SHAPES, min_size=1, max_size=3))]
    norm, count = np.sqrt(sum(long_norm(grad) ** 2 for grad in grads)), sum(grad.size for grad in grads)
    if abs(norm - max_norm) > (count + 10) * max_norm * LONG(limits(computed_in(dtype)).eps):
        factor = min(LONG(1), LONG(max_norm) / norm) if norm > 0 else LONG(1)
        for result, grad in zip(clip_by_global_norm(grads, max_norm), grads, strict=True):
            expect_close(result, grad.astype(LONG) * factor, count, dtype)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("path", ["formula", "numpy", "cupy"])
@pytest.mark.parametrize("shape", [(4, 3), (6,)])
@pytest.mark.parametrize("dtype", FULL)
def test_a_gradient_that_is_not_finite_stays_visible(dtype, shape, path, value):
    """Its unit is left as it is, no weight of the unit becomes 0 or NaN silently, and the other units are clipped."""
    grad, param = np.ones(shape, dtype), np.ones(shape, dtype)
    grad.reshape(-1)[1] = value
    (moved,), (velocity,), count = run(path, clipped_update, fast_cupy.updates.clipped_update, [param], [grad],
                                       [np.zeros_like(grad)], weight_decays=[0.0], clippings=[0.01], **UPDATE)
    touched = [0] if len(shape) == 1 else [1]
    for k, (result, unit) in enumerate(zip(units_of(velocity), units_of(grad), strict=True)):
        if k in touched:
            np.testing.assert_array_equal(result, unit)
        else:
            assert np.all(result < 0.1)
    np.testing.assert_array_equal(np.isfinite(moved), np.isfinite(grad))
    assert int(count[0]) == len(units_of(grad)) - 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", HALF + FULL, ids=str)
def test_functions_leave_units_that_are_not_finite(dtype, value):
    grad = np.full((4, 2), 3.0).astype(dtype)
    grad[1, 0] = value
    clipped = adaptive_gradient_clip(grad, np.ones((4, 2)).astype(dtype))
    np.testing.assert_array_equal(clipped[:, 0].astype(float), grad[:, 0].astype(float))
    assert np.all(clipped[:, 1].astype(float) < 0.1)
    np.testing.assert_array_equal(clip_by_global_norm([grad], 1.0)[0].astype(float), grad.astype(float))
    assert not np.isfinite(float(global_norm([grad])))
