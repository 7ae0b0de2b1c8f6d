"""The backward pass: a cotangent goes through the recorded nodes in reverse order and adds up in the leaves.

A vertex is a Node or a leaf (a tensor that no operation made). `backward_pass` is the formula; on NumPy its fast path
is parallel_backward.py. Tests: reference_tests/autograd/.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from .. import backend
from ..backend.arrays import Array
from ..functional.arithmetic import add
from .tape import GraphError, Node


def reverse_topological_order(root: Any) -> Iterator[Any]:
    """Every node and leaf that `root` was computed from, each after all that used it."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        vertex, expanded = stack.pop()
        if expanded:
            order.append(vertex)
        elif id(vertex) not in seen:
            seen.add(id(vertex))
            stack.append((vertex, True))
            stack.extend((parent, False) for parent in parents_of(vertex) if parent is not None)
    return reversed(order)


def parents_of(vertex: Any) -> Sequence[Any]:
    """Where the cotangents of a vertex's inputs go; GraphError for a node that a backward pass has freed."""
    if not isinstance(vertex, Node):
        return ()
    if vertex.is_freed:
        raise GraphError(f"backward through {vertex.name}: its graph was already freed by an earlier backward; "
                         f"run the forward computation again")
    return vertex.parents


@backend.formula
def backward_pass(cotangent: Array, root: Any) -> None:
    """Carry the cotangent of `root`, a node or a leaf, to every leaf, in reverse topological order.

    A node is freed just before its products are computed. A vertex to which nothing has come passes nothing on.
    """
    cotangents = {id(root): cotangent if isinstance(root, Node) else cotangent.copy()}
    for vertex in reverse_topological_order(root):
        cotangent = cotangents.pop(id(vertex), None)
        if cotangent is None:
            continue
        if isinstance(vertex, Node):
            _add_contributions(vertex, cotangent, cotangents)
        else:
            accumulate_grad(vertex, cotangent)


def _add_contributions(vertex: Node, cotangent: Array, cotangents: dict[int, Array]) -> None:
    """Compute the products of a node, whose cotangent is complete, and add them to those of its parents."""
    vertex.check()
    node = vertex.take()
    for vjp in node.vjps:
        for (_, parent), contribution in node.pull(vjp, cotangent):
            if contribution is None:
                continue
            contribution = copy_if_shared(contribution, parent, cotangent)
            earlier = cotangents.get(id(parent))
            cotangents[id(parent)] = contribution if earlier is None else add(earlier, contribution)


def accumulate_grad(leaf: Any, cotangent: Array) -> None:
    """Add the complete cotangent of a leaf to its gradient; GraphError unless it has the leaf's shape and dtype."""
    if cotangent.shape != leaf.data.shape or cotangent.dtype != leaf.data.dtype:
        raise GraphError(f"backward: a vector-Jacobian product returned {tuple(cotangent.shape)}, {cotangent.dtype} "
                         f"for a leaf of {tuple(leaf.shape)}, {leaf.dtype}")
    total = cotangent if leaf.grad is None else leaf.grad + cotangent
    leaf.grad = backend.as_array(total)


def copy_if_shared(contribution: Array, vertex: Any, cotangent: Array) -> Array:
    """The contribution, computed from `cotangent`, to a vertex: for a leaf a copy, if its memory may be shared."""
    is_shared = contribution is cotangent or not backend.buffer_pool.owns_its_memory(contribution)
    return contribution.copy() if is_shared and not isinstance(vertex, Node) else contribution
