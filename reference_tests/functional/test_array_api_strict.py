"""Every formula and every derivative on arrays that know nothing but the array API standard of 2023.12.

array_api_strict computes with NumPy underneath, so what is standard gives the same bits; anything else raises there.
A derivative is run as the tape runs it: through the `pull` of a recorded node, its saved arrays handed over as strict
ones.
"""

import array_api_strict as strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_tests.helpers.oracle import OPERATIONS, TABLE, cotangent_for, in_dtype, tensors_of

from nfnumpy import backend, optim

DTYPES = ("float32", "float64")


@pytest.fixture(autouse=True, scope="module")
def standard_of_2023_12():
    strict.set_array_api_strict_flags(api_version="2023.12")
    yield
    strict.reset_array_api_strict_flags()


def as_strict(value):
    return strict.asarray(value) if isinstance(value, (np.ndarray, np.generic)) else value


def assert_same(got, expected):
    """Bitwise equality with the NumPy result, dtype and shape included."""
    assert type(got).__module__.startswith("array_api_strict")
    back = np.asarray(got._array)
    assert back.shape == np.shape(expected) and back.dtype == expected.dtype
    np.testing.assert_array_equal(back, expected, strict=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", TABLE)
@given(data=st.data())
def test_formula_and_derivatives_are_standard_and_equal_numpy_bit_for_bit(name, dtype, data):
    problem = data.draw(TABLE[name].problems)
    operation, options = OPERATIONS[name], problem.options
    with backend.reference():
        output = operation(*tensors_of(problem, dtype), **options)
        assert_same(operation.formula(*(as_strict(in_dtype(x, dtype)) for x in problem.inputs), **options),
                    output.data)
        cotangent = cotangent_for(problem, name).astype(dtype)
        saved, ways, parents = output.node.release()
        strict = {key: as_strict(value) for key, value in saved.items()}
        pairs = [(parents[number], got, expected) for chosen, way in ways for number, got, expected in zip(
            chosen, way(strict, as_strict(cotangent)), way(saved, cotangent), strict=True)]
    assert {id(parent) for parent, _, _ in pairs} >= {id(parent) for parent in parents if parent is not None}
    for parent, contribution, reference in pairs:
        if parent is not None:
            assert_same(contribution, reference)


# ---- the optimizers' formulas

SHAPES = [(), (1,), (5,), (3, 4), (1, 4), (3, 3, 2, 4), (1, 1, 1, 1)]


def arrays(shape, dtype, count=2):
    random = np.random.default_rng(len(shape))
    return [np.asarray(random.standard_normal(shape), dtype=dtype) for _ in range(count)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_unitwise_norm_is_standard(shape, dtype):
    (w,) = arrays(shape, dtype, 1)
    assert_same(optim.unitwise_norm(as_strict(w)), optim.unitwise_norm(w))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("clipping", [0.01, 100.0])
def test_adaptive_gradient_clip_is_standard(shape, dtype, clipping):
    grad, param = arrays(shape, dtype)
    assert_same(optim.adaptive_gradient_clip(as_strict(grad), as_strict(param), clipping),
                optim.adaptive_gradient_clip(grad, param, clipping))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_global_norm_and_clipping_by_it_are_standard(dtype, max_norm):
    together = [array for shape in SHAPES for array in arrays(shape, dtype, 1)]
    assert_same(optim.global_norm(map(as_strict, together)), optim.global_norm(together))
    for got, expected in zip(optim.clip_by_global_norm(map(as_strict, together), max_norm),
                             optim.clip_by_global_norm(together, max_norm), strict=True):
        assert_same(got, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_update_is_standard(shape, dtype, nesterov):
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": nesterov, "weight_decay": 2e-5}
    three = arrays(shape, dtype, 3)
    for got, expected in zip(optim.sgd_update(*map(as_strict, three), **options),
                             optim.sgd_update(*three, **options), strict=True):
        assert_same(got, expected)
