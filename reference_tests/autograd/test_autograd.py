"""The tape: what adds up, what is kept and what is freed, who owns a gradient, and which mistakes it refuses."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as shapes_of
from reference_tests.helpers.oracle import OPERATIONS, TABLE, cotangent_for, tensors_of

from reference_tests.helpers.fast_paths import walking
from nfnumpy import GraphError, InputError, Tensor, no_grad, ops, trust_saved_arrays
from nfnumpy.autograd import differentiable


@pytest.fixture(scope="module", autouse=True, params=["one after the other", "side by side"])
def way_back(request):
    """All of this holds for the formula and for its fast path, however small the graph."""
    with walking(request.param):
        yield


def leaf(values, dtype=np.float64):
    return Tensor(np.array(values, dtype=dtype), requires_grad=True)


# ---- gradients add up


def test_a_tensor_used_as_both_inputs_receives_both_shares():
    x = leaf([3.0, -2.0])
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad, 2 * x.data)
    y = leaf([3.0])
    (y - y).sum().backward()
    np.testing.assert_array_equal(y.grad, [0.0])


def test_the_arms_of_a_diamond_add_up():
    x = leaf([1.0, 2.0])
    shared = x * 2.0
    (shared * 3.0 + shared * shared).sum().backward()
    np.testing.assert_array_equal(x.grad, 6.0 + 8.0 * x.data)


def test_a_node_is_walked_after_everything_that_used_it_however_long_the_detour():
    x = leaf([1.0])
    early = x * 2.0
    late = early
    for _ in range(5):
        late = late + 1.0
    (late * early).sum().backward()
    np.testing.assert_array_equal(x.grad, [2.0 * (2.0 + 5.0) + 2.0 * 2.0])


def test_ladders_of_diamonds_take_one_step_a_node_not_one_a_path():
    x = leaf([1.0])
    y = x
    for _ in range(200):
        y = y + y
    (y * 2.0**-200).sum().backward()
    np.testing.assert_array_equal(x.grad, [1.0])


@given(shapes=shapes_of.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3, min_side=0))
def test_broadcast_inputs_receive_the_sum_over_their_repetitions(shapes):
    x, y = (leaf(np.ones(shape)) for shape in shapes.input_shapes)
    (x + y).sum().backward()
    total = np.prod(shapes.result_shape)
    for tensor in (x, y):
        assert tensor.grad.shape == tensor.shape
        assert np.all(tensor.grad * max(tensor.data.size, 1) == total)


def test_gradients_of_two_backward_passes_add_up():
    x = leaf([1.0, 2.0])
    (x * 3.0).sum().backward()
    (x * 4.0).sum().backward()
    np.testing.assert_array_equal(x.grad, [7.0, 7.0])


def test_a_cotangent_weighs_the_values():
    x = leaf([1.0, 2.0])
    (x * 3.0).backward(np.array([1.0, 10.0]))
    (x * 3.0).backward(Tensor(np.array([1.0, 10.0])))
    np.testing.assert_array_equal(x.grad, [6.0, 60.0])


def test_inputs_given_by_keyword_receive_their_gradients_too():
    x, y = leaf([2.0]), leaf([5.0])
    ops.multiply(x, y=y).sum().backward()
    np.testing.assert_array_equal([x.grad, y.grad], [[5.0], [2.0]])


# ---- whose memory a gradient is


def no_two_share_memory(arrays):
    return not any(np.shares_memory(a, b) for k, a in enumerate(arrays) for b in arrays[:k])


@pytest.mark.parametrize("name", TABLE)
@given(data=st.data())
def test_gradients_share_no_memory_with_each_other_the_cotangent_the_inputs_or_the_output(name, data):
    problem = data.draw(TABLE[name].problems)
    inputs = tensors_of(problem, np.float64)
    cotangent = cotangent_for(problem, name)
    out = OPERATIONS[name](*inputs, **problem.options)
    out.backward(cotangent)
    grads = [inputs[k].grad for k in problem.wrt]
    assert all(isinstance(g, np.generic) or g.flags.writeable for g in grads)
    assert no_two_share_memory([*grads, cotangent])
    others = [out.data, *(t.data for t in inputs if isinstance(t, Tensor))]
    assert not any(np.shares_memory(g, other) for g in grads for other in others)


def test_writing_into_one_gradient_leaves_its_sibling_unchanged():
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    (a + b).sum().backward()
    a.grad[:] = 99.0
    np.testing.assert_array_equal(b.grad, [1.0, 1.0])


def test_a_leaf_keeps_a_copy_of_the_cotangent_it_is_given():
    x, cotangent = leaf([1.0]), np.array([2.0])
    x.backward(cotangent)
    cotangent[:] = 99.0
    np.testing.assert_array_equal(x.grad, [2.0])


# ---- what is recorded and when it is freed


def test_no_grad_records_nothing_and_recording_resumes_after_an_error():
    x = leaf([1.0])
    with pytest.raises(ZeroDivisionError), no_grad():
        assert (x * 2.0).node is None
        raise ZeroDivisionError
    assert (x * 2.0).node is not None


def test_tensors_that_want_no_gradient_are_not_recorded_and_get_none():
    x, constant = leaf([1.0]), Tensor(np.array([2.0]))
    assert (constant * 3.0).node is None
    (x * constant).sum().backward()
    assert constant.grad is None


def test_detach_forgets_the_history():
    x = leaf([1.0])
    ((x * 2.0).detach() * x).sum().backward()
    np.testing.assert_array_equal(x.grad, [2.0])


def test_only_what_a_derivative_needs_is_kept_alive():
    x = leaf(np.ones(4))
    first = x + 1.0
    inner = weakref.ref(first.data)
    out = (first + 1.0).sum()
    del first
    gc.collect()
    assert inner() is None
    out.backward()


def test_saved_arrays_are_gone_after_backward():
    y, saved = leaf(np.full(1000, -1.0)), []
    for _ in range(5):
        y = ops.exp(y)
        saved.append(weakref.ref(y.data))
    total = y.sum()
    del y
    assert all(reference() is not None for reference in saved)
    total.backward()
    assert all(reference() is None for reference in saved)


def test_later_saved_arrays_are_gone_before_earlier_nodes_are_reached():
    """x → observed → exp → observed → exp …: going back, an observer runs just after the exp above it was passed."""
    saved, alive = [], []

    def observed(x):
        return x + 0.0

    def observed_vjp(cotangent):
        alive.append([reference() is not None for reference in saved])
        return cotangent

    observe, y = differentiable(observed, x=observed_vjp), leaf(np.full(1000, -1.0))
    for _ in range(3):
        y = ops.exp(observe(y))
        saved.append(weakref.ref(y.data))
    total = y.sum()
    del y
    total.backward()
    assert alive == [[True, True, False], [True, False, False], [False, False, False]]


def test_ten_thousand_operations_deep_neither_backward_nor_deallocation_recurses():
    x = leaf([1.0])
    y = x
    for _ in range(10_000):
        y = y * 1.0
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [1.0])
    y = x
    for _ in range(10_000):
        y = y * 1.0
    del y
    gc.collect()


# ---- mistakes it refuses


def test_a_second_backward_is_refused_by_the_name_of_the_freed_operation():
    y = ops.exp(leaf([1.0])).sum()
    y.backward()
    with pytest.raises(GraphError, match="already freed"):
        y.backward()


def test_backward_through_a_part_that_another_backward_freed_is_refused():
    shared = ops.exp(leaf([1.0]))
    first, second = (shared * 2.0).sum(), (shared * 3.0).sum()
    first.backward()
    with pytest.raises(GraphError, match="backward through exp"):
        second.backward()


def test_backward_on_more_than_one_number_is_refused_with_its_shape():
    with pytest.raises(GraphError, match=r"shape \(2, 3\)"):
        (leaf(np.ones((2, 3))) * 2.0).backward()


def test_one_number_of_any_shape_is_a_scalar():
    x = leaf(np.ones((1, 1)))
    (x * 2.0).backward()
    np.testing.assert_array_equal(x.grad, [[2.0]])


@pytest.mark.parametrize("cotangent", [np.ones(2), np.ones((3, 1)), np.ones(3, np.float32), [1.0, 1.0, 1.0], 1.0])
def test_a_cotangent_of_another_shape_dtype_or_kind_is_refused_with_both(cotangent):
    with pytest.raises(GraphError, match=r"expected a cotangent of \(3,\), float64, got"):
        (leaf(np.ones(3)) * 2.0).backward(cotangent)


def test_backward_where_nothing_was_recorded_is_refused():
    with pytest.raises(GraphError, match="nothing was recorded"):
        Tensor(np.ones(())).backward()
    with no_grad():
        y = leaf([1.0]).sum()
    with pytest.raises(GraphError, match="nothing was recorded"):
        y.backward()


# ---- dtypes


@pytest.mark.parametrize("number", [2, 2.0, np.float64(2.0), np.float32(2.0), np.int64(2), np.bool_(True), True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_of_any_kind_take_the_dtype_of_the_tensor_on_either_side(number, dtype):
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
def test_arrays_that_would_turn_float32_into_float64_are_refused(other):
    x = leaf([1.0, 2.0], np.float32)
    for operate in (lambda: x * other, lambda: other * x):
        with pytest.raises(InputError, match="float32"):
            operate()


def test_an_array_on_the_left_of_a_tensor_gives_a_tensor_with_its_gradient():
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
