"""The tape: what adds up, what is kept and what is freed, whose memory a gradient is, and which mistakes it refuses."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as shapes_of

from nfnumpy import GraphError, InputError, Tensor, no_grad, ops, trust_saved_arrays
from nfnumpy.autograd import differentiable
from reference_tests.helpers.fast_paths import backward_mode


@pytest.fixture(scope="module", autouse=True, params=["sequential", "parallel"])
def mode(request):
    """All of this holds for the formula and for its fast path, however small the graph."""
    with backward_mode(request.param):
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


def test_a_node_follows_everything_that_used_it():
    x = leaf([1.0])
    early = x * 2.0
    late = early
    for _ in range(5):
        late = late + 1.0
    (late * early).sum().backward()
    np.testing.assert_array_equal(x.grad, [2.0 * (2.0 + 5.0) + 2.0 * 2.0])


def test_diamonds_take_one_step_a_node_not_one_a_path():
    x = leaf([1.0])
    y = x
    for _ in range(200):
        y = y + y
    (y * 2.0**-200).sum().backward()
    np.testing.assert_array_equal(x.grad, [1.0])


@given(shapes=shapes_of.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3, min_side=0))
def test_broadcast_inputs_receive_sums_over_repetitions(shapes):
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


def test_inputs_given_by_keyword_receive_gradients():
    x, y = leaf([2.0]), leaf([5.0])
    ops.multiply(x, y=y).sum().backward()
    np.testing.assert_array_equal([x.grad, y.grad], [[5.0], [2.0]])


# ---- whose memory a gradient is


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


def test_no_grad_records_nothing_and_ends_with_an_error():
    x = leaf([1.0])
    with pytest.raises(ZeroDivisionError), no_grad():
        assert (x * 2.0).node is None
        raise ZeroDivisionError
    assert (x * 2.0).node is not None


def test_constants_are_not_recorded_and_get_no_gradient():
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


def test_later_saved_arrays_go_before_earlier_nodes_run():
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


def test_a_graph_of_ten_thousand_nodes_is_no_recursion():
    """Neither the backward pass nor the deallocation."""
    x = leaf([1.0])

    def deep():
        y = x
        with trust_saved_arrays():
            for _ in range(10_000):
                y = y * 1.0
        return y

    deep().sum().backward()
    np.testing.assert_array_equal(x.grad, [1.0])
    y = deep()
    del y
    gc.collect()


# ---- mistakes it refuses


def test_a_second_backward_is_refused():
    y = ops.exp(leaf([1.0])).sum()
    y.backward()
    with pytest.raises(GraphError, match="already freed"):
        y.backward()


def test_backward_through_a_freed_part_is_refused():
    shared = ops.exp(leaf([1.0]))
    first, second = (shared * 2.0).sum(), (shared * 3.0).sum()
    first.backward()
    with pytest.raises(GraphError, match="backward through exp"):
        second.backward()


def test_backward_on_more_than_one_number_is_refused():
    with pytest.raises(GraphError, match=r"shape \(2, 3\)"):
        (leaf(np.ones((2, 3))) * 2.0).backward()


def test_one_number_of_any_shape_is_a_scalar():
    x = leaf(np.ones((1, 1)))
    (x * 2.0).backward()
    np.testing.assert_array_equal(x.grad, [[2.0]])


@pytest.mark.parametrize("cotangent", [np.ones(2), np.ones((3, 1)), np.ones(3, np.float32), [1.0, 1.0, 1.0], 1.0])
def test_a_cotangent_of_another_shape_or_dtype_is_refused(cotangent):
    with pytest.raises(GraphError, match=r"expected a cotangent of \(3,\), float64, got"):
        (leaf(np.ones(3)) * 2.0).backward(cotangent)


def test_backward_where_nothing_was_recorded_is_refused():
    with pytest.raises(GraphError, match="nothing was recorded"):
        Tensor(np.ones(())).backward()
    with no_grad():
        y = leaf([1.0]).sum()
    with pytest.raises(GraphError, match="nothing was recorded"):
        y.backward()


def wrong_joint(count):
    return differentiable(lambda x, y: x * y, joint=lambda cotangent, x, y: (cotangent,) * count)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_joint_vjp_returns_one_cotangent_an_input(count):
    product = wrong_joint(count)(leaf([1.0]), leaf([2.0]))
    with pytest.raises(GraphError, match=f"returned {count} cotangents for 2 inputs"):
        product.sum().backward()


@pytest.mark.parametrize("count", [0, 2])
def test_a_separate_vjp_returns_one_cotangent(count):
    operation = differentiable(lambda x: x * 2.0, x=lambda cotangent: (cotangent,) * count)
    with pytest.raises(GraphError, match=f"returned {count} cotangents for 1 inputs"):
        operation(leaf([1.0])).sum().backward()


@pytest.mark.parametrize("found, complaint", [
    (lambda cotangent: np.stack([cotangent, cotangent]), "returned ndarray, expected a tuple of 2"),
    (lambda cotangent: None, "returned NoneType, expected a tuple of 2"),
    (lambda cotangent: (cotangent.sum(), cotangent), r"returned \(\), float64 for a leaf of \(3,\), float64"),
    (lambda cotangent: (cotangent.astype("float32"), cotangent), r"returned \(3,\), float32 for a leaf")])
def test_a_cotangent_that_fits_no_input_is_refused(found, complaint):
    operation = differentiable(lambda x, y: x * y, joint=lambda cotangent, x, y: found(cotangent))
    with pytest.raises(GraphError, match=complaint):
        operation(leaf([1.0, 2.0, 3.0]), leaf([2.0, 1.0, 0.0])).sum().backward()


def double(x):
    return x * 2.0


@pytest.mark.parametrize("vjps", [{"y": lambda cotangent: cotangent}, {"x": lambda cotangent, other: cotangent},
                                  {"x": lambda cotangent, y_shape: cotangent}])
def test_a_vjp_of_an_input_that_there_is_not_is_refused(vjps):
    with pytest.raises(TypeError, match="double has no input y|needs '"):
        differentiable(double, **vjps)


@pytest.mark.parametrize("kind", [TypeError, AttributeError, KeyError, ZeroDivisionError])
def test_errors_of_a_formula_that_are_no_refusal_surface(kind):
    def broken(x):
        raise kind("a mistake in the formula")

    with pytest.raises(kind, match="a mistake"):
        differentiable(broken)(np.ones(2))


@pytest.mark.parametrize("kind", [ValueError, IndexError])
def test_what_a_formula_refuses_is_one_line_with_the_shapes(kind):
    def refusing(x):
        raise kind("not these\nand more lines")

    with pytest.raises(InputError, match=r"refusing of \(2,\): not these$"):
        differentiable(refusing)(np.ones(2))
