"""An array that a derivative will need may not change between forward and backward: any change in place is refused.

The fingerprint of an array is a function of all its bits and their places, so not only single values count: reordered
values, negated arrays and swapped signs are changes too.
"""

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from hypothesis.extra import numpy as shapes_of

from nfnumpy import GraphError, Tensor, backend, checkpoint, ops, trust_saved_arrays
from reference_tests.helpers.fast_paths import backward_mode
from reference_tests.helpers.oracle import OPERATIONS, TABLE, cotangent_for, tensors_of

MODES = ["sequential", "parallel"]


@pytest.fixture(params=MODES)
def mode(request):
    """The formula of the backward pass and its fast path, however small the graph."""
    with backward_mode(request.param):
        yield


DTYPES = st.sampled_from([np.float32, np.float64])
small_arrays = DTYPES.flatmap(lambda dtype: shapes_of.arrays(
    dtype, shapes_of.array_shapes(min_dims=1, max_dims=3, max_side=4), elements=st.integers(-3, 3).map(float)))


@pytest.mark.parametrize("name", TABLE)
@given(data=st.data())
def test_saved_arrays_are_guarded_and_gradients_own_memory(name, data):
    problem = data.draw(TABLE[name].problems)
    cotangent = cotangent_for(problem, name)
    for mode in MODES:
        with backward_mode(mode):
            inputs = tensors_of(problem, np.float64)
            out = OPERATIONS[name](*inputs, **problem.options)
            expect_changes_refused(out, cotangent, data)
            out.backward(cotangent)
            expect_own_memory(inputs, problem.wrt, out, cotangent)


def expect_changes_refused(out, cotangent, data):
    """One changed value in any saved array is refused by the names of the operation and the input."""
    arrays = {key: value for key, value in out.node.saved.items() if backend.is_array(value) and value.size}
    for key, array in arrays.items():
        position = data.draw(st.integers(0, array.size - 1))
        before = array.flat[position]
        array.flat[position] = not before if array.dtype == bool else before + 1
        with pytest.raises(GraphError, match=f"{out.node.name}: its saved {key} .*changed in place"):
            out.backward(cotangent)
        array.flat[position] = before


def expect_own_memory(inputs, wrt, out, cotangent):
    """Gradients are arrays that share no memory with each other, the cotangent, the inputs or the output."""
    grads = [inputs[k].grad for k in wrt]
    assert all(isinstance(grad, np.ndarray) and grad.flags.writeable for grad in grads)
    others = [cotangent, out.data, *(t.data for t in inputs if isinstance(t, Tensor))]
    for k, grad in enumerate(grads):
        assert not any(np.shares_memory(grad, other) for other in (*grads[:k], *others))


@given(array=small_arrays, data=st.data())
def test_the_least_bit_of_one_value_shows(array, data):
    before = backend.fingerprint(array)
    place = data.draw(st.integers(0, array.size - 1))
    array.flat[place] = np.nextafter(array.flat[place], array.dtype.type(9))
    assert backend.fingerprint(array) != before


@given(array=small_arrays, data=st.data())
def test_any_reordering_of_the_values_shows(array, data):
    order = np.array(data.draw(st.permutations(range(array.size))))
    changed = array.reshape(-1)[order].reshape(array.shape)
    assume(not np.array_equal(changed, array))
    assert backend.fingerprint(changed) != backend.fingerprint(array)


@pytest.mark.parametrize("axis", [0, 1])
def test_flipping_an_identity_matrix_shows(axis):
    """Its rows and columns keep their sums."""
    assert backend.fingerprint(np.ascontiguousarray(np.flip(np.eye(2), axis))) != backend.fingerprint(np.eye(2))


@given(array=small_arrays)
def test_negating_a_whole_array_shows(array):
    assume(np.any(array != 0))
    assert backend.fingerprint(-array) != backend.fingerprint(array)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_negating_two_to_the_22_values_shows(dtype):
    array = np.random.default_rng(0).random((2048, 2048)).astype(dtype)
    assert backend.fingerprint(-array) != backend.fingerprint(array)


@given(array=small_arrays, data=st.data())
def test_swapping_a_value_with_its_negative_shows(array, data):
    assume(array.size > 1)
    first, second = data.draw(st.lists(st.integers(0, array.size - 1), min_size=2, max_size=2, unique=True))
    array.flat[first], array.flat[second] = 1.0, -1.0
    before = backend.fingerprint(array)
    array.flat[first], array.flat[second] = -1.0, 1.0
    assert backend.fingerprint(array) != before


def test_equal_arrays_in_different_layouts_have_one_fingerprint():
    array = np.arange(12.0).reshape(3, 4)
    for same in (array.copy(), np.asfortranarray(array), array[::-1][::-1], np.arange(24.0)[::2].reshape(3, 4) / 2):
        assert backend.fingerprint(same) == backend.fingerprint(array)


def test_an_output_that_a_derivative_needs_is_guarded_too(mode):
    x = Tensor(np.zeros(2), requires_grad=True)
    y = ops.exp(x)
    y.data += 1.0
    with pytest.raises(GraphError, match="exp: its saved output"):
        y.sum().backward()


def test_changing_what_no_derivative_needs_is_allowed(mode):
    x, y = (Tensor(np.ones(2), requires_grad=True) for _ in range(2))
    total = (x + y).sum()
    x.data[:] = 7.0
    total.backward()
    np.testing.assert_array_equal(x.grad, [1.0, 1.0])


def test_rebinding_the_data_of_a_parameter_is_allowed(mode):
    x = Tensor(np.full(2, 3.0), requires_grad=True)
    total = (x * x).sum()
    x.data = x.data + 1.0
    total.backward()
    np.testing.assert_array_equal(x.grad, [6.0, 6.0])


@pytest.mark.parametrize("wrap", [Tensor, np.asarray], ids=["tensor", "array"])
def test_tensors_and_arrays_into_a_checkpoint_are_guarded(wrap, mode):
    x, other = Tensor(np.ones(2), requires_grad=True), np.full(2, 3.0)
    total = checkpoint(lambda a, b: a * b, x, wrap(other)).sum()
    other[0] = 4.0
    with pytest.raises(GraphError, match="checkpoint: its saved input 1"):
        total.backward()


def test_trust_turns_the_check_off(mode):
    x = Tensor(np.full(2, 3.0), requires_grad=True)
    with trust_saved_arrays():
        total = (x * x).sum()
    x.data[:] = 5.0
    total.backward()
    np.testing.assert_array_equal(x.grad, [10.0, 10.0])
