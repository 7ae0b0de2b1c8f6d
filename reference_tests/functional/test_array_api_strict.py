"""Every formula and every derivative on arrays that know nothing but the array API standard of 2023.12.

array_api_strict computes with NumPy underneath, so what is standard gives the same bits; anything else raises there.
A derivative is run as the tape runs it: by the vector-Jacobian products of a recorded node, given its saved arrays as
strict ones.
"""

import array_api_strict as strict
import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import backend, optim, reference
from nfnumpy.autograd import Node
from reference_tests.helpers.oracle import OPERATIONS, TABLE, cotangent_for, in_dtype, tensors_of

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


@pytest.mark.parametrize("name", TABLE)
@given(data=st.data())
def test_formulas_and_vjps_are_standard_bit_for_bit(name, data):
    problem = data.draw(TABLE[name].problems)
    cotangent = cotangent_for(problem, name)
    for dtype in DTYPES:
        with backend.reference():
            expect_standard(OPERATIONS[name], problem, cotangent.astype(dtype), dtype)


def expect_standard(operation, problem, cotangent, dtype):
    """The value and what every vector-Jacobian product returns are those of NumPy, computed on strict arrays."""
    output = operation(*tensors_of(problem, dtype), **problem.options)
    strict_inputs = [as_strict(in_dtype(x, dtype)) for x in problem.inputs]
    assert_same(operation.formula(*strict_inputs, **problem.options), output.data)
    node = output.node.take()
    strict_saved = {key: as_strict(value) for key, value in node.saved.items()}
    strict_node = Node(node.name, node.parents, strict_saved, node.vjps, node.options, fingerprints={})
    reached = set()
    for vjp in node.vjps:
        pairs = zip(strict_node.pull(vjp, as_strict(cotangent)), node.pull(vjp, cotangent), strict=True)
        for (edge, contribution), (_, expected) in pairs:
            assert_same(contribution, expected)
            reached.add(edge.number)
    assert reached == set(problem.wrt)


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
    with reference():  # the fast path adds in another order
        norm = optim.global_norm(together)
        clipped = optim.clip_by_global_norm(together, max_norm)
    assert_same(optim.global_norm(map(as_strict, together)), norm)
    for got, expected in zip(optim.clip_by_global_norm(map(as_strict, together), max_norm), clipped, strict=True):
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
