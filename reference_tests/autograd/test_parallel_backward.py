"""The parallel backward pass: the bits of the sequential one, in whatever order tasks run, and no deadlock."""

import contextvars
import functools
import gc
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nfnumpy import GraphError, Tensor, checkpoint, models, ops, reference
from nfnumpy.autograd import differentiable, parallel_backward
from reference_tests.helpers.fast_paths import backward_mode

MODES = ("sequential", "parallel")


def of_unlike_sizes(draws, count):
    """Leaves whose sums depend on the order of adding."""
    return [Tensor(draws.standard_normal((3, 4)) * 10.0 ** draws.integers(-8, 9), requires_grad=True)
            for _ in range(count)]


OPERATIONS = [lambda x, y: x + y, lambda x, y: ops.sqrt(ops.absolute(x) + 1.0), lambda x, y: x * y * 1e-3,
              lambda x, y: ops.stack([x, y, x]).sum(axis=0)]


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32 - 1), leaves=st.integers(1, 4), operations=st.integers(1, 40),
       count=st.integers(2, 4))
def test_every_sum_is_made_in_the_order_of_the_formula(seed, leaves, operations, count):
    """Random graphs, in which many operations share inputs, twice in each mode: gradients add up, too."""
    def gradients(mode):
        draws = np.random.default_rng(seed)
        tensors = of_unlike_sizes(draws, leaves)
        some = tensors[:]
        for _ in range(operations):
            x, y = (some[draws.integers(len(some))] for _ in range(2))
            some.append(OPERATIONS[draws.integers(len(OPERATIONS))](x, y))
        with backward_mode(mode, count):
            for _ in range(2):
                (some[-1] * 1.5 + some[len(some) // 2]).sum().backward()
                some[-1], some[len(some) // 2] = some[0] * 2.0, some[0]
        return [tensor.grad for tensor in tensors]

    for alone, together in zip(*map(gradients, MODES), strict=True):
        assert (alone is None) == (together is None)
        assert alone is None or np.array_equal(alone, together, equal_nan=True)


@given(order=st.permutations(range(6)), nothing=st.sets(st.integers(0, 5)), seed=st.integers(0, 99))
def test_an_edge_sum_adds_in_the_order_of_its_edges(order, nothing, seed):
    """In whatever order the contributions arrive; only the last delivery completes it."""
    draws = np.random.default_rng(seed)
    contributions = [None if edge in nothing else draws.standard_normal(3) * 10.0 ** draws.integers(-9, 9)
                     for edge in range(6)]
    edge_sum = parallel_backward.EdgeSum([(edge, 0) for edge in range(6)])
    completed = [edge_sum.deliver((edge, 0), contributions[edge]) for edge in order]
    assert completed == [False] * 5 + [True]
    some = [contribution for contribution in contributions if contribution is not None]
    expected = functools.reduce(np.add, some) if some else None
    assert np.array_equal(edge_sum.total, expected) if some else edge_sum.total is None


@pytest.mark.parametrize("name", ["nfnet_32px", "nf_resnet_32px", "nf_regnet_32px"])
def test_a_network_has_the_same_gradients_bit_for_bit(name):
    draws = np.random.default_rng(0)
    x, labels = draws.standard_normal((4, 32, 32, 3)).astype(np.float32), np.arange(4)

    def gradients(mode):
        model = models.create(name, seed=0)
        with backward_mode(mode):
            ops.softmax_cross_entropy(model(x, training=True), labels).backward()
        return {name: parameter.grad for name, parameter in model.parameters().items()}

    alone, together = map(gradients, MODES)
    assert all(np.array_equal(alone[name], together[name]) for name in alone)


def double(x):
    return x * 2.0


def graph_of(vjp, count=20):
    """The sum of `count` branches, each through an operation with this derivative."""
    operation = differentiable(double, x=vjp)
    leaves = [Tensor(np.full(3, float(k)), requires_grad=True) for k in range(count)]
    total = operation(leaves[0])
    for leaf in leaves[1:]:
        total = total + operation(leaf)
    return leaves, total.sum()


def test_branches_run_on_more_than_one_thread():
    """Each of two derivatives waits until the other has begun, which one thread alone would never see."""
    both = threading.Barrier(2, timeout=60)

    def vjp(cotangent):
        both.wait()
        return cotangent * 2.0

    leaves, total = graph_of(vjp, count=2)
    with backward_mode("parallel"):
        total.backward()
    assert all(np.array_equal(leaf.grad, np.full(3, 2.0)) for leaf in leaves)


def test_within_reference_one_thread_runs_everything():
    seen = set()

    def vjp(cotangent):
        seen.add(threading.current_thread())
        return cotangent * 2.0

    with backward_mode("parallel"), reference():
        graph_of(vjp)[1].backward()
    assert seen == {threading.current_thread()}


def test_an_error_in_a_vjp_reaches_the_caller():
    class Mistake(Exception):
        pass

    def vjp(cotangent):
        raise Mistake("here")

    leaves, total = graph_of(vjp)
    with backward_mode("parallel"):
        with pytest.raises(Mistake, match="here"):
            total.backward()
        with pytest.raises(GraphError, match="already freed"):
            total.backward()
        leaves, total = graph_of(lambda cotangent: cotangent * 2.0)
        total.backward()
    assert all(leaf.grad is not None for leaf in leaves)


def test_vjps_run_in_the_contexts_of_the_caller():
    mark = contextvars.ContextVar("mark", default="")
    mark.set("here")
    seen = []

    def vjp(cotangent):
        seen.append((mark.get(), np.geterr()["over"]))
        return cotangent * 2.0

    with backward_mode("parallel"), np.errstate(over="raise"):
        graph_of(vjp)[1].backward()
    assert seen == [("here", "raise")] * 20


def test_saved_arrays_are_freed_after_their_last_use():
    x, y = (Tensor(np.ones(1 << 12), requires_grad=True) for _ in range(2))
    middle = x * 2.0
    saved = weakref.ref(middle.data)
    total = (middle * y).sum()
    del middle
    gc.collect()
    assert saved() is not None
    with backward_mode("parallel"):
        total.backward()
    gc.collect()
    assert saved() is None


def test_checkpoints_run_sequentially():
    """Each adds to the gradients of parameters while it runs, so that their order must be the formula's."""
    shared = Tensor(np.ones(3), requires_grad=True)
    leaves, seen = [Tensor(np.ones(3), requires_grad=True) for _ in range(20)], []

    def function(x):
        seen.append(threading.current_thread())
        return x * shared

    total = sum((checkpoint(function, leaf) for leaf in leaves), start=shared * 1.0).sum()
    seen.clear()
    with backward_mode("parallel"):
        assert parallel_backward.backward_pass(np.ones(()), total.node) is NotImplemented
        total.backward()
    assert seen == [threading.current_thread()] * 20 and np.array_equal(shared.grad, np.full(3, 21.0))


@pytest.mark.parametrize("mode", MODES)
def test_inputs_that_get_nothing_block_no_other(mode):
    """A sum is reached by an operation that gives it nothing; both of its leaves have something from elsewhere, too."""
    x, y = (Tensor(np.ones(3), requires_grad=True) for _ in range(2))
    nothing = differentiable(lambda z, w: z + w, joint=lambda cotangent, z, w: (None, cotangent))
    total = (nothing(x * 5.0 + y * 5.0, x * 3.0) + y * 2.0).sum()
    with backward_mode(mode):
        total.backward()
    assert np.array_equal(x.grad, np.full(3, 3.0)) and np.array_equal(y.grad, np.full(3, 2.0))


def test_small_graphs_run_on_one_thread():
    x = Tensor(np.ones(3), requires_grad=True)
    with backward_mode("parallel"):
        node = (x * 2.0).sum().node
        assert parallel_backward.backward_pass(np.ones(()), node) is None
    assert parallel_backward.backward_pass(np.ones(()), (x * 2.0).sum().node) is NotImplemented


def test_the_formula_is_one_step_from_its_fast_path():
    from nfnumpy import autograd
    assert autograd.backward_pass.fast_paths == {"numpy": parallel_backward.backward_pass}
