"""The kernels of every nonlinearity and its derivative, beside their formulas in float64."""

import cupy
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy.backend import to_host
from nfnumpy.functional.activations import NONLINEARITIES, scaled_nonlinearity, scaled_nonlinearity_vjp
from nfnumpy.functional.fast_cupy.activations import ELEMENTWISE
from reference_tests.helpers.on_gpu import ANY_DTYPE, DTYPES, bits_in_all_orders, launched, put, rounded, units, waits

ALONG_AN_AXIS = {"glu", "log_softmax"}  # the formulas run
NAMES = sorted(ELEMENTWISE)
SCALE = 1.7


def both_ways(x, cotangent, name, place=cupy.asarray):
    """[(kernels' result, formula, its inputs)] of value and derivative; `place` puts an array on the GPU."""
    return [(function(*map(place, inputs), name=name, scale=SCALE), function, inputs)
            for function, inputs in ((scaled_nonlinearity, (x,)), (scaled_nonlinearity_vjp, (cotangent, x)))]


def hold(x, cotangent, name, place=cupy.asarray):
    """An exp, expm1, erfc, log1p or tanh errs by a few eps/2, and the some ten operations around it by one each.

    That is 16 eps of the largest of what is added up: the result, or 1 + |x| times the scale and a cotangent.
    """
    for got, function, inputs in both_ways(x, cotangent, name, place):
        wide = [array.astype(np.float64) for array in inputs]
        expected = function.plain(*wide, name=name, scale=SCALE)
        computed, narrow = units(x.dtype)
        factor = SCALE * (np.abs(wide[0]) if function is scaled_nonlinearity_vjp else 1)
        size = np.maximum(np.abs(expected), factor * (1 + np.abs(wide[-1])))
        allowed = 32 * computed * size + narrow * np.abs(expected) + float(ml_dtypes.finfo(x.dtype).smallest_subnormal)
        assert got.shape == x.shape and got.dtype == x.dtype
        assert np.all(np.abs(to_host(got).astype(np.float64) - expected) <= allowed)


def test_every_elementwise_nonlinearity_has_a_kernel():
    missing = sorted(set(NONLINEARITIES) - ALONG_AN_AXIS - set(ELEMENTWISE))
    assert not missing, f"{missing}: each needs a struct in kernels/activations.cu and an entry of ELEMENTWISE in " \
                        "functional/fast_cupy/activations.py"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_value_and_derivative_are_the_formulas_from_tail_to_tail(name, dtype):
    """At 0, where several formulas change hands, among others; an odd number of values."""
    x = np.concatenate([np.linspace(-30, 30, 601), np.linspace(-1, 1, 201), [5.999, 6.0, 6.001]]).astype(dtype)
    hold(x, np.cos(np.arange(len(x))).astype(dtype), name)


@given(shape=st.lists(st.integers(0, 5), max_size=4).map(tuple), dtype=ANY_DTYPE, name=st.sampled_from(NAMES),
       where=st.sampled_from([{}, {"misaligned": True}, {"transposed": True}]))
def test_arrays_of_any_shape_anywhere(shape, dtype, name, where):
    x, cotangent = (np.asarray(np.random.default_rng(seed).standard_normal(shape)).astype(dtype) for seed in (0, 1))
    hold(x, cotangent, name, place=lambda array: put(array, **where))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_infinities_and_nan_are_as_in_the_formula(name, dtype):
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0], dtype=dtype)
    for got, function, inputs in both_ways(x, np.ones(5, dtype), name):
        expected = rounded(function, dtype, *inputs, name=name, scale=SCALE).astype(np.float64)
        got = to_host(got).astype(np.float64)
        assert np.array_equal(np.isnan(got), np.isnan(expected))
        assert np.array_equal(got[np.isinf(expected)], expected[np.isinf(expected)])
        assert np.array_equal(np.isinf(got), np.isinf(expected))


@pytest.mark.parametrize("name", NAMES)
def test_one_launch_without_waiting_has_the_same_bits_always(name):
    x = put(np.linspace(-4, 4, 4099).astype(np.float32))

    def run():
        return (scaled_nonlinearity(x, name=name, scale=SCALE), scaled_nonlinearity_vjp(x, x, name=name, scale=SCALE))
    assert launched(run) == ["scaled_nonlinearity", "scaled_nonlinearity_vjp"] and waits(run) == 0
    assert len(bits_in_all_orders(run)) == 1


@pytest.mark.parametrize("name", sorted(ALONG_AN_AXIS))
def test_what_works_along_an_axis_is_left_to_the_formula(name):
    x = np.linspace(-4, 4, 24).reshape(4, 6)
    assert launched(lambda: scaled_nonlinearity(put(x), name=name, scale=SCALE)) == []
    got = scaled_nonlinearity(put(x), name=name, scale=SCALE)
    np.testing.assert_allclose(to_host(got), scaled_nonlinearity.plain(x, name=name, scale=SCALE), rtol=1e-14)
