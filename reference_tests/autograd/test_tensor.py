"""Tensors as values: dtypes, operators, conversions, comparisons, iteration."""

import copy

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from hypothesis.extra import numpy as shapes_of

from nfnumpy import InputError, Tensor, ops, trust_saved_arrays
from reference_tests.helpers.oracle import OPERATIONS


def leaf(values, dtype=np.float64):
    return Tensor(np.array(values, dtype=dtype), requires_grad=True)


# ---- dtypes


@pytest.mark.parametrize("number", [2, 2.0, np.float64(2.0), np.float32(2.0), np.int64(2), np.bool_(True), True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_take_the_dtype_of_the_tensor(number, dtype):
    x = leaf([1.0, 3.0], dtype)
    for result in (x * number, number * x, x + number, number + x, x - number, number - x, x / number, number / x,
                   ops.maximum(x, number), ops.minimum(number, x), ops.where(np.array([True, False]), x, number)):
        assert isinstance(result, Tensor) and result.dtype == dtype


@given(pair=st.sampled_from([(np.float32, np.float64), (np.float64, np.float32), (np.float16, np.float32)]),
       name=st.sampled_from(["add", "subtract", "multiply", "divide", "maximum", "minimum", "matmul"]))
def test_floating_dtypes_that_differ_are_refused_by_name(pair, name):
    x, y = (leaf(np.ones((2, 2)), dtype) for dtype in pair)
    with pytest.raises(InputError, match=f"{name}: inputs of .*float"):
        OPERATIONS[name](x, y)


@pytest.mark.parametrize("other", [np.ones(2), np.array(2.0), np.arange(2), np.arange(2, dtype=np.int32), [1.0, 2.0]],
                         ids=["float64", "float64 scalar array", "int64", "int32", "list"])
def test_arrays_that_would_widen_float32_are_refused(other):
    x = leaf([1.0, 2.0], np.float32)
    for operate in (lambda: x * other, lambda: other * x):
        with pytest.raises(InputError, match="float32"):
            operate()


def test_an_array_on_the_left_of_a_tensor_gives_a_tensor():
    array = np.array([[2.0, 3.0], [4.0, 5.0]])
    for operate in (lambda x: array + x, lambda x: array - x, lambda x: array * x, lambda x: array / x,
                    lambda x: array @ x):
        x = leaf([[1.0, 2.0], [3.0, 4.0]])
        result = operate(x)
        assert isinstance(result, Tensor)
        np.testing.assert_array_equal(result.data, operate(x.data))
        result.sum().backward()
        assert x.grad.shape == x.shape


@given(x=shapes_of.arrays(np.float64, (2, 2), elements=st.floats(-4, 4)))
def test_operators_and_methods_are_the_operations_of_those_names(x):
    t = leaf(x)
    assume(np.all(x != 0))
    for got, expected in ((t + t, x + x), (t - 1, x - 1), (1 - t, 1 - x), (t * t, x * x), (t / t, x / x),
                          (1 / t, 1 / x), (-t, -x), (t**2, x * x), (t @ t, x @ x), (t[0], x[0]), (t[:, 1], x[:, 1]),
                          (t.reshape(4), x.reshape(4)), (t.reshape((4, 1)), x.reshape(4, 1)), (t.transpose(), x.T),
                          (t.transpose(1, 0), x.T), (t.sum(axis=0), x.sum(0)), (t.mean(), x.mean()),
                          (t.max(axis=1), x.max(1)), (t.min(), x.min())):
        np.testing.assert_array_equal(got.data, expected)


def test_trusting_saved_arrays_keeps_no_fingerprints():
    with trust_saved_arrays():
        assert ops.exp(leaf([1.0])).node.fingerprints == {}
    assert ops.exp(leaf([1.0])).node.fingerprints


# ---- conversions


@pytest.mark.parametrize("options, copies", [({}, True), ({"copy": True}, True), ({"copy": None}, False),
                                             ({"copy": False}, False)], ids=str)
def test_np_array_copies_when_a_copy_is_wanted(options, copies):
    x = leaf([1.0, 2.0])
    array = np.array(x, **options)
    assert np.shares_memory(array, x.data) != copies
    array[:] = 7.0
    np.testing.assert_array_equal(x.data, [1.0, 2.0] if copies else [7.0, 7.0])


def test_np_array_in_another_dtype_is_a_copy():
    x = leaf([1.0, 2.0])
    assert np.array(x, dtype=np.float32).dtype == np.float32 and np.asarray(x, dtype="f4").dtype == np.float32
    with pytest.raises(ValueError):
        np.array(x, dtype=np.float32, copy=False)
    assert np.asarray(x) is x.data


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)])
def test_one_value_is_a_number(shape):
    x = leaf(np.full(shape, 2.75))
    assert float(x) == x.item() == 2.75 and int(x) == 2 and f"{x:.1f}" == "2.8" and bool(x) and not bool(x * 0.0)
    assert type(float(x)) is float and type(int(x)) is int and f"{x}" == repr(x)


@pytest.mark.parametrize("shape", [(0,), (2,), (2, 1)])
def test_other_than_one_value_is_no_number(shape):
    x = leaf(np.ones(shape))
    for convert in (float, int, bool, Tensor.item, lambda x: f"{x:.2f}"):
        with pytest.raises(InputError, match="Tensor"):
            convert(x)
    assert f"{x}" == repr(x)


# ---- iteration


def test_iteration_gives_the_entries_with_their_history():
    x = leaf([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    first, second, third = x
    assert len(list(x)) == len(x) == 3 and list(leaf(np.ones((0, 2)))) == []
    (first * 2.0 + third).sum().backward()
    np.testing.assert_array_equal(x.grad, [[2.0, 2.0], [0.0, 0.0], [1.0, 1.0]])
    np.testing.assert_array_equal(second.data, [3.0, 4.0])
    assert [float(value) for value in leaf([1.0, 2.0])] == [1.0, 2.0]


# ---- comparisons


COMPARISONS = {"equal": lambda x, y: x == y, "not_equal": lambda x, y: x != y, "less": lambda x, y: x < y,
               "less_equal": lambda x, y: x <= y, "greater": lambda x, y: x > y, "greater_equal": lambda x, y: x >= y}
values = shapes_of.arrays(np.float64, (2, 3), elements=st.sampled_from([-1.0, 0.0, 1.0, np.inf, np.nan]))


@pytest.mark.parametrize("name", COMPARISONS)
@given(x=values, y=values)
def test_comparisons_are_those_of_the_arrays(name, x, y):
    compare = COMPARISONS[name]
    for other in (y, Tensor(y), leaf(y), y[0], 0.0, 1):
        expected = compare(x, other.data if isinstance(other, Tensor) else other)
        result = compare(leaf(x), other)
        assert isinstance(result, Tensor) and result.dtype == bool and result.node is None
        np.testing.assert_array_equal(result.data, expected)
    np.testing.assert_array_equal(compare(y, leaf(x)).data, compare(y, x))
    np.testing.assert_array_equal(getattr(ops, name)(leaf(x), y).data, compare(x, y))


def test_comparisons_choose_in_where_and_in_conditions():
    x = leaf([-1.0, 2.0])
    ops.where(x > 0.0, x * 3.0, 0.0).sum().backward()
    np.testing.assert_array_equal(x.grad, [0.0, 3.0])
    assert x.sum() < 1.5 and not x.sum() == 2.0
    with pytest.raises(InputError, match="neither true nor false"):
        bool(x == x)


def test_a_tensor_is_no_text_and_not_none():
    x = leaf([1.0])
    assert not (x == None) and x != None and not (x == "text") and x != "text"  # noqa: E711


def test_tensors_are_keys_by_identity():
    x, same = leaf([1.0]), leaf([1.0])
    found = {x: "x", same: "same"}
    assert found[x] == "x" and found[same] == "same" and len({x, same, x}) == 2
    x.data = np.array([2.0])
    assert found[x] == "x" and copy.copy(x) not in found
