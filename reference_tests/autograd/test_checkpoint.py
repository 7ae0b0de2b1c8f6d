"""Recomputing instead of remembering: the same gradients to the last bit, with fewer arrays held."""

import weakref

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import Tensor, checkpoint, no_grad, ops


def parameters(dtype=np.float64, seed=0):
    random = np.random.default_rng(seed)
    return {name: Tensor(random.standard_normal(shape).astype(dtype), requires_grad=True)
            for name, shape in (("x", (3, 4)), ("w", (4, 5)), ("b", (5,)), ("v", (5, 2)))}


def block(p, wrap):
    """x → gelu(x·w + b)·v: x is handed over, w, b and v are reached by closure."""
    hidden = wrap(lambda x: ops.gelu(ops.linear(x, p["w"], p["b"])), p["x"])
    return wrap(lambda h: ops.tanh(h @ p["v"]), hidden)


def directly(function, *inputs):
    return function(*inputs)


def nested(function, *inputs):
    return checkpoint(lambda *outer: checkpoint(function, *outer), *inputs)


def gradients(build, wrap, **options):
    p = parameters(**options)
    build(p, wrap).sum().backward()
    return {name: tensor.grad for name, tensor in p.items()}


@pytest.mark.parametrize("wrap", [checkpoint, nested], ids=["once", "nested"])
@given(seed=st.integers(0, 999), dtype=st.sampled_from([np.float32, np.float64]))
def test_gradients_are_bit_identical_to_those_without(wrap, seed, dtype):
    plain = gradients(block, directly, seed=seed, dtype=dtype)
    again = gradients(block, wrap, seed=seed, dtype=dtype)
    for name, grad in plain.items():
        np.testing.assert_array_equal(again[name], grad, strict=True)


@pytest.mark.parametrize("wrap", [checkpoint, nested], ids=["once", "nested"])
def test_gradients_add_to_those_already_there(wrap):
    p = parameters()
    for _ in range(2):
        block(p, wrap).sum().backward()
    for name, grad in gradients(block, directly).items():
        np.testing.assert_array_equal(p[name].grad, 2.0 * grad)


def test_the_same_tensor_as_two_inputs_receives_both_shares():
    x = Tensor(np.array([3.0]), requires_grad=True)
    checkpoint(lambda a, b: a * a * b, x, x).sum().backward()
    np.testing.assert_array_equal(x.grad, [27.0])


def test_captured_parameters_beside_a_constant_input():
    x, w = Tensor(np.array([3.0])), Tensor(np.array([2.0]), requires_grad=True)
    checkpoint(lambda a: a * w, x).sum().backward()
    assert x.grad is None
    np.testing.assert_array_equal(w.grad, [3.0])


def test_a_function_without_derivatives_is_a_constant():
    x, w = Tensor(np.array([3.0])), Tensor(np.array([2.0]), requires_grad=True)
    (checkpoint(lambda a: a * 2.0, x) * w).sum().backward()
    np.testing.assert_array_equal(w.grad, [6.0])


def test_numbers_arrays_and_none_pass_through_as_they_are():
    x = Tensor(np.array([3.0]), requires_grad=True)
    checkpoint(lambda a, number, array, nothing: a * number * array if nothing is None else a, x, 2.0, np.array([5.0]),
               None).sum().backward()
    np.testing.assert_array_equal(x.grad, [10.0])


def test_returning_the_input_gives_a_gradient_of_its_own():
    x, cotangent = Tensor(np.array([3.0]), requires_grad=True), np.array([7.0])
    checkpoint(lambda a: a, x).backward(cotangent)
    np.testing.assert_array_equal(x.grad, [7.0])
    assert not np.shares_memory(x.grad, cotangent)


def test_under_no_grad_nothing_is_recorded():
    p = parameters()
    with no_grad():
        assert block(p, checkpoint).node is None


@pytest.mark.parametrize(("wrap", "held"), [(directly, True), (checkpoint, False), (nested, False)],
                         ids=["directly", "once", "nested"])
def test_arrays_made_inside_are_freed_at_once(wrap, held):
    x, inner = Tensor(np.ones(1000), requires_grad=True), []

    def function(a):
        hidden = ops.exp(a)
        inner.append(weakref.ref(hidden.data))
        return hidden * hidden

    total = wrap(function, x).sum()
    assert (inner[0]() is not None) == held
    total.backward()
    assert all(reference() is None for reference in inner)


def test_inputs_of_a_checkpoint_are_freed_by_backward():
    x = Tensor(np.ones(1000), requires_grad=True)
    hidden = x * 2.0
    reference = weakref.ref(hidden.data)
    total = checkpoint(ops.exp, hidden).sum()
    del hidden
    assert reference() is not None
    total.backward()
    assert reference() is None


@pytest.mark.parametrize("leaf", [True, False])
def test_an_input_that_the_function_ignores_gets_no_gradient(leaf):
    x, w = Tensor(np.ones(3), requires_grad=True), Tensor(np.ones(3), requires_grad=True)
    checkpoint(lambda ignored: w * 2.0, x if leaf else x * 1.0).backward(np.ones(3))
    assert x.grad is None and np.array_equal(w.grad, [2.0, 2.0, 2.0])
