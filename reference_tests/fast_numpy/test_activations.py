"""Nonlinearities in blocks are their formulas, on any number of threads."""

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from hypothesis.extra import numpy as arrays_of

from nfnumpy.functional import activations
from reference_tests.helpers.fast_paths import DTYPES, LAYOUTS, THREADS, expect_close, in_layout, with_threads


@given(x=arrays_of.arrays(np.float64, arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
                          elements=st.floats(-30, 30)),
       name=st.sampled_from(sorted(set(activations.NONLINEARITIES) - {"glu"})), scale=st.sampled_from([1.0, 1.7]),
       dtype=DTYPES, count=THREADS, layout=LAYOUTS)
def test_nonlinearities_are_the_formulas_within_rounding(x, name, scale, dtype, count, layout):
    """Block ends fall elsewhere than array ends, and NumPy's vectorized exp and tanh may round their rests otherwise.

    An ulp or two there is multiplied by the few operations around it: 16 eps of the larger of input and result.
    """
    assume(name != "log_softmax" or (x.ndim > 0 and x.size > 0))
    x = in_layout(x.astype(dtype), layout)
    cotangent = (np.cos(x) + 1).astype(dtype)
    for function, inputs in ((activations.scaled_nonlinearity, (x,)),
                             (activations.scaled_nonlinearity_vjp, (cotangent, x))):
        formula = np.asarray(function.plain(*inputs, name=name, scale=scale))
        fast = np.asarray(with_threads(count, function, *inputs, name=name, scale=scale))
        expect_close(fast, formula, 16, np.maximum(np.abs(formula), 1 + np.abs(x)))


@pytest.mark.parametrize("x, scale", [(np.arange(9), 1.7), (np.arange(9, dtype=np.float32), np.float64(1.7))])
def test_other_dtypes_and_scales_are_left_to_the_formula(x, scale):
    fast = with_threads(2, activations.scaled_nonlinearity, x, name="relu", scale=scale)
    formula = activations.scaled_nonlinearity.plain(x, name="relu", scale=scale)
    assert fast.dtype == formula.dtype and np.array_equal(fast, formula)


@given(sums=arrays_of.arrays(np.float64, st.tuples(st.just(2), st.integers(0, 5), st.integers(0, 5)),
                             elements=st.floats(-30, 30) | st.sampled_from([np.nan, np.inf, -np.inf])),
       dtypes=st.tuples(DTYPES, DTYPES), count=THREADS, layout=LAYOUTS)
def test_the_rectified_sum_is_the_formula_bit_for_bit(sums, dtypes, count, layout):
    x, y = (in_layout(array.astype(dtype), layout) for array, dtype in zip(sums, dtypes, strict=True))
    with np.errstate(invalid="ignore"):
        formula = activations.rectified_sum.plain(x, y)
        fast = with_threads(count, activations.rectified_sum, x, y)
    assert fast.dtype == formula.dtype and np.array_equal(fast, formula, equal_nan=True)
