"""Every operation in the table against torch in float64: its value, each gradient, and their dtypes and shapes.

float64: 1e-12 of the reference's norm. Where the reference all but vanishes because its terms cancel (the standardized
weights of a fan-in of 1 or 2, say), the terms count: `rounding_bound` of their magnitude. float32: always the latter,
that is, half a float32 epsilon for every rounding on the way to a value.
"""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st

import nfnumpy as nf
from reference_tests.helpers.oracle import OPERATIONS, TABLE, answer, cotangent_for, magnitudes, norm, rounding_bound
from reference_tests.helpers.oracle_torch import answer as torch_answer


def hold(label, got, reference, allowed):
    """Assert that `got` lies within `allowed` (a norm) of `reference`."""
    error = norm(got.astype(np.float64) - reference)
    assert error <= allowed, f"{label}: off by {error:.3e} (norm), allowed {allowed:.3e}, of {norm(reference):.3e}"


def compare(name, problem, put=lambda array: array):
    """One problem in both precisions, with arrays where `put` puts them."""
    case, cotangent = TABLE[name], cotangent_for(problem, name)
    reference, slopes = torch_answer(case.oracle, problem, cotangent)
    assert reference.dtype == np.float64
    added, gradient_added = magnitudes(case, problem, cotangent, reference, slopes)
    for dtype, relative in ((np.float64, 1e-12), (np.float32, 0.0)):
        value, gradients = answer(name, problem, cotangent, dtype, put)
        rounding = rounding_bound(case, problem, reference.shape, dtype)
        assert value.shape == reference.shape and value.dtype == dtype
        hold(f"{name} value", value, reference, max(relative * norm(reference), rounding * added))
        for k, gradient, slope, size in zip(problem.wrt, gradients, slopes, gradient_added, strict=True):
            assert gradient.shape == problem.inputs[k].shape and gradient.dtype == dtype
            hold(f"{name} gradient {k}", gradient, slope, max(relative * norm(slope), rounding * size))


def test_the_table_has_every_differentiable_operation():
    expected = set(OPERATIONS) - {"cast"}  # whose whole point is another dtype: see the next test
    missing, unknown = sorted(expected - set(TABLE)), sorted(set(TABLE) - expected)
    assert not missing, f"operations without a case: {missing}. Add them to TABLE in helpers/oracle.py; for a " \
                        "nonlinearity an entry of NONLINEARITY in helpers/oracle_torch.py makes the case"
    assert not unknown, f"cases without a differentiable operation in nfnumpy/ops.py: {unknown}"


@pytest.mark.parametrize("there", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_cast_rounds_and_its_derivative_has_the_first_dtype(there):
    x = nf.Tensor(np.random.default_rng(0).standard_normal(50), requires_grad=True)
    out = nf.ops.cast(x, dtype=there)
    cotangent = np.ones(50, dtype=there)
    out.backward(cotangent)
    assert out.dtype == there and np.array_equal(out.data, x.data.astype(there))
    assert x.grad.dtype == np.float64 and np.array_equal(x.grad, np.ones(50))


@pytest.mark.parametrize("name", TABLE)
@given(data=st.data())
def test_values_and_gradients_equal_torch(name, data):
    compare(name, data.draw(TABLE[name].problems))


def test_gelu_is_straight_far_out_and_masks_stop_infinities():
    """Where x³ would overflow float32, gelu is x or 0 and its derivative 1 or 0; a masked place passes on nothing."""
    x = nf.Tensor(np.array([-1e20, -11.0, 11.0, 1e20], dtype=np.float32), requires_grad=True)
    out = nf.ops.gelu(x)
    out.backward(np.ones(4, dtype=np.float32))
    assert np.array_equal(out.numpy(), [0.0, 0.0, 11.0, np.float32(1e20)]) and np.array_equal(x.grad, [0, 0, 1, 1])
    for operation in (nf.ops.relu, nf.ops.relu6, lambda x: nf.ops.clip(x, low=0.0, high=1.0)):
        x = nf.Tensor(np.array([-1.0, 0.5]), requires_grad=True)
        operation(x).backward(np.array([np.inf, 1.0]))
        assert np.array_equal(x.grad, [0.0, 1.0])
