"""Adaptive gradient clipping: its units, its invariants, and a torch loop over the units as oracle.

Rounding: a norm of n numbers is a sum of n rounded squares and a root, (n + 3)/2 epsilons off at most. AGC takes two
norms, a maximum, a product, a quotient and another product; a check takes one or two norms more. So all
comparisons allow (2n + 10) epsilons. Magnitudes stay within 1e-9 … 1e9; test_norms.py
has all others.
"""

import inspect
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given, strategies as st

from nfnumpy import InputError
from nfnumpy.optim import adaptive_gradient_clip, clip_factor, unitwise_norm

AXIS = st.integers(1, 5)
SHAPES = st.one_of(
    st.just(()), st.tuples(st.integers(1, 40)),  # scalars; biases and gains
    st.tuples(AXIS, AXIS), st.tuples(st.integers(1, 60), AXIS),  # linear (in, out)
    st.tuples(st.sampled_from([1, 3]), st.sampled_from([1, 3]), AXIS, AXIS),  # convolutions HWIO
    st.tuples(st.just(1), st.just(1), st.just(1), AXIS))


@st.composite
def arrays(draw, shape, dtype):
    """Normal numbers, some of them 0, every output unit at a magnitude of its own."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    units = shape[-1] if shape else 1
    magnitudes = draw(st.lists(st.integers(-8, 8), min_size=units, max_size=units))
    values = rng.standard_normal(shape) * (rng.random(shape) < draw(st.sampled_from([0.5, 1.0])))
    return np.asarray(values * 10.0 ** np.asarray(magnitudes if shape else magnitudes[0])).astype(dtype)


@st.composite
def problems(draw):
    """(grad, param, clipping, eps) of one shape and dtype, gradients from far below to far above what is allowed."""
    shape, dtype = draw(SHAPES), draw(st.sampled_from([np.float32, np.float64]))
    return (draw(arrays(shape, dtype)), draw(arrays(shape, dtype)), draw(st.sampled_from([1e-4, 0.01, 0.16, 1.0])),
            draw(st.sampled_from([1e-6, 1e-3, 0.1])))


def units_of(array):
    """The units of an array, as a list of flat arrays, without looking at axes longer than they are."""
    if np.squeeze(array).ndim <= 1:
        return [array.reshape(-1)]
    return [array[..., k].reshape(-1) for k in range(array.shape[-1])]


def roundings(array):
    return (2 * array.size + 10) * np.finfo(array.dtype).eps


def norm(values):
    return float(np.linalg.norm(values.astype(np.float64)))


@given(problems())
def test_clipping_equals_a_torch_loop_over_units(problem):
    grad, param, clipping, eps = problem
    clipped = adaptive_gradient_clip(grad, param, clipping=clipping, eps=eps)
    assert isinstance(clipped, np.ndarray) and clipped.dtype == grad.dtype and clipped.shape == grad.shape
    for ours, g, w in zip(units_of(clipped), units_of(grad), units_of(param), strict=True):
        g, w = torch.from_numpy(g).double(), torch.from_numpy(w).double()
        allowed, found = clipping * max(float(torch.linalg.vector_norm(w)), eps), float(torch.linalg.vector_norm(g))
        if abs(found / allowed - 1) <= roundings(grad):
            continue  # on the edge either is right
        expected = g * (allowed / max(found, 1e-6) if found > allowed else 1.0)
        np.testing.assert_allclose(ours, expected.numpy(), rtol=roundings(grad), atol=0)


@given(problems())
def test_no_unit_is_longer_than_allowed(problem):
    grad, param, clipping, eps = problem
    clipped = adaptive_gradient_clip(grad, param, clipping=clipping, eps=eps)
    for g, w in zip(units_of(clipped), units_of(param), strict=True):
        assert norm(g) <= clipping * max(norm(w), eps) * (1 + roundings(grad))


@given(problems())
def test_a_unit_within_bounds_is_bit_for_bit_itself(problem):
    grad, param, clipping, eps = problem
    clipped = adaptive_gradient_clip(grad, param, clipping=clipping, eps=eps)
    for g, w, result in zip(units_of(grad), units_of(param), units_of(clipped), strict=True):
        if norm(g) <= clipping * max(norm(w), eps) * (1 - roundings(grad)):
            assert np.array_equal(g, result)


@given(problems())
def test_a_unit_keeps_its_direction(problem):
    """All its entries are multiplied by one number, from 0 (exclusive) to 1."""
    grad, param, clipping, eps = problem
    clipped = adaptive_gradient_clip(grad, param, clipping=clipping, eps=eps)
    for g, result in zip(units_of(grad), units_of(clipped), strict=True):
        factors = result[g != 0].astype(np.float64) / g[g != 0]
        assert np.array_equal(result[g == 0], g[g == 0])
        assert (factors > 0).all() and (factors <= 1).all()
        assert factors.size == 0 or np.ptp(factors) <= 2 * np.finfo(grad.dtype).eps * factors.max()


@given(problems())
def test_clipping_twice_changes_nothing_more(problem):
    """Where lambda·eps is above the divisor's floor of 1e-6, as with the papers' 1e-5. Below it the authors' rule
    makes a unit shorter than allowed, and rounding may count it as too long again.
    """
    grad, param, clipping, eps = problem
    eps = max(eps, 2e-6 / clipping)
    once = adaptive_gradient_clip(grad, param, clipping=clipping, eps=eps)
    twice = adaptive_gradient_clip(once, param, clipping=clipping, eps=eps)
    np.testing.assert_allclose(twice, once, rtol=roundings(grad), atol=0)


@given(problems())
def test_zero_gradients_stay_zero_without_a_warning(problem):
    grad, param, clipping, eps = problem
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not adaptive_gradient_clip(np.zeros_like(grad), param, clipping=clipping, eps=eps).any()
        assert not adaptive_gradient_clip(np.zeros_like(grad), np.zeros_like(grad)).any()


@given(problems())
def test_a_parameter_below_the_floor_counts_as_the_floor(problem):
    """Zero or tiny, it may be moved all the same."""
    grad, param, clipping, eps = problem
    tiny = np.asarray(param * 0).astype(param.dtype)
    at_floor = tiny.copy().reshape(-1, tiny.shape[-1] if np.squeeze(tiny).ndim > 1 else 1)
    at_floor[0] = eps
    np.testing.assert_allclose(
        adaptive_gradient_clip(grad, tiny, clipping=clipping, eps=eps),
        adaptive_gradient_clip(grad, at_floor.reshape(tiny.shape), clipping=clipping, eps=eps),
        rtol=roundings(grad), atol=0)


@given(problems(), st.integers(-3, 3))
def test_clipping_does_not_depend_on_the_units_beside(problem, exponent):
    """Scaling one unit's gradient leaves the others bit for bit as they were."""
    grad, param, clipping, eps = problem
    assume(len(units_of(grad)) > 1)
    changed = grad.copy()
    changed[..., 0] *= 2.0**exponent
    before, after = (adaptive_gradient_clip(g, param, clipping=clipping, eps=eps) for g in (grad, changed))
    assert np.array_equal(before[..., 1:], after[..., 1:])


@pytest.mark.parametrize("shape, norms", [
    ((3, 3, 5, 7), (1, 1, 1, 7)), ((1, 1, 5, 7), (1, 1, 1, 7)), ((3, 3, 1, 7), (1, 1, 1, 7)), ((5, 7), (1, 7)),
    ((7,), ()), ((), ()), ((1,), ()), ((1, 1, 1, 7), ()), ((1, 7), ()), ((7, 1), ()), ((7, 1, 1, 1), ())], ids=str)
def test_a_tensor_has_one_norm_a_unit(shape, norms):
    """Convolutions and linear layers: one an output; whatever has one axis worth the name: one."""
    w = np.random.default_rng(0).standard_normal(shape)
    found = unitwise_norm(w)
    assert isinstance(found, np.ndarray) and found.shape == norms and clip_factor(w, w).shape == norms
    expected = np.sqrt((w**2).sum(axis=(0, 1, 2)[:w.ndim - 1])) if norms else np.sqrt((w**2).sum())
    np.testing.assert_allclose(found.reshape(-1), np.reshape(expected, -1), rtol=roundings(w))


def test_numbers_worked_out_by_hand():
    """Columns of W have norms 5 and 0, those of G 10 and 0.5; lambda 0.1 allows 0.5 and, by the floor of 1, 0.1."""
    param = np.asarray([[3.0, 0.0], [4.0, 0.0]])
    grad = np.asarray([[6.0, 0.3], [8.0, 0.4]])
    clipped = adaptive_gradient_clip(grad, param, clipping=0.1, eps=1.0)
    np.testing.assert_allclose(clipped, [[0.3, 0.06], [0.4, 0.08]], rtol=4 * 2.3e-16)


@pytest.mark.parametrize("arguments, mentioned", [
    (dict(grad=np.ones((2, 3)), param=np.ones((3, 2))), "(2, 3)"),
    (dict(grad=np.ones(3), param=np.ones(3), clipping=0.0), "clipping=0.0"),
    (dict(grad=np.ones(3), param=np.ones(3), clipping=-1.0), "clipping=-1.0"),
    (dict(grad=np.ones(3), param=np.ones(3), clipping=float("nan")), "clipping=nan"),
    (dict(grad=np.ones(3), param=np.ones(3), eps=0.0), "eps=0.0")])
def test_invalid_arguments_are_refused_in_one_line(arguments, mentioned):
    with pytest.raises(InputError) as error:
        adaptive_gradient_clip(**arguments)
    assert mentioned in str(error.value) and "\n" not in str(error.value)


def test_defaults_are_those_of_the_paper():
    for function in (adaptive_gradient_clip, clip_factor):
        defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()}
        assert (defaults["clipping"], defaults["eps"]) == (0.01, 1e-3)
