"""`backward_pass` as a task graph on the thread pool: a node's products become runnable when its cotangent is complete.

The backward pass of a network is a chain of derivatives with respect to images; beside each link are those with respect
to parameters, which no other derivative waits for. One thread follows the chain while another computes what lies beside
it. Three invariants make the result that of the formula, bit for bit:

(I1) The contributions to a vertex are added in the order of its edges, in whatever order they arrive (`EdgeSum`).
(I2) A node is opened (checked, freed, its tasks made) exactly once, when all its edges have delivered.
(I3) The delivery that completes a sum opens the vertex; no other thread looks at the sum again.

A task is (position of a node in the reverse topological order, number of one of its products); the least ready task
runs first, so that the memory held is that of the sequential pass, or little more.
"""

import threading
from typing import Any, NamedTuple

from .. import backend
from ..backend.arrays import Array
from ..functional.arithmetic import add
from . import backward
from .backward import accumulate_grad, copy_if_shared, parents_of, reverse_topological_order
from .tape import Node, Vjp

LARGE = 1 << 20  # bytes that a node has saved on average: with less, the threads wait for the interpreter

Task = tuple[int, int]
EdgeKey = tuple[int, int] | None  # (id of the node, number of its input); None: the cotangent of the root


@backward.backward_pass.fast_path("numpy")
def backward_pass(cotangent: Array, root: Any) -> Any:
    """The formula's sums in the formula's order, on all threads."""
    if backend.blas_threads.thread_count() == 1:
        return NotImplemented
    vertices = list(reverse_topological_order(root))
    if not _is_worth_it(vertices):
        return NotImplemented
    run = _BackwardRun(vertices)
    backend.thread_pool.run_task_graph(run.deliver(root, None, cotangent), run.compute)


def _is_worth_it(vertices: list[Any]) -> bool:
    """Whether the operations are large, and their products change nothing that others may change, too."""
    nodes = [vertex for vertex in vertices if isinstance(vertex, Node)]
    saved = sum(getattr(value, "nbytes", 0) for node in nodes for value in node.saved.values())
    return bool(nodes) and saved >= LARGE * len(nodes) and all(node.is_pure for node in nodes)


class EdgeSum:
    """The sum of the contributions to one vertex, added in the order of its edges (I1).

    pending: the edges that are not yet added, the next one last; ready: edge -> contribution that has arrived but is
    not yet added. One thread adds at a time, without the lock; a contribution that arrives meanwhile is left in `ready`
    for that thread.
    """

    def __init__(self, edges: list[EdgeKey]) -> None:
        self.pending = edges[::-1]
        self.ready: dict[EdgeKey, Array | None] = {}
        self.total: Array | None = None
        self.lock = threading.Lock()
        self.is_adding = False

    def deliver(self, edge: EdgeKey, contribution: Array | None) -> bool:
        """Take the contribution of an edge (None: nothing); returns whether this call has completed the sum (I3)."""
        with self.lock:
            self.ready[edge] = contribution
            if self.is_adding:
                return False
            self.is_adding = True
        while True:
            with self.lock:
                if not self.pending or self.pending[-1] not in self.ready:
                    self.is_adding = False
                    return not self.pending
                contribution = self.ready.pop(self.pending.pop())
            if contribution is not None:
                self.total = contribution if self.total is None else add(self.total, contribution)


class _OpenTask(NamedTuple):
    """A product that can be computed: the taken node, the product, and the node's complete cotangent."""

    key: int  # id of the vertex
    node: Node
    vjp: Vjp
    cotangent: Array


class _BackwardRun:
    """One backward pass: the sums of all vertices that are not complete, and the tasks that are open."""

    def __init__(self, vertices: list[Any]) -> None:
        self.positions = {id(vertex): position for position, vertex in enumerate(vertices)}
        self.open_tasks: dict[Task, _OpenTask] = {}
        edges: dict[int, list[EdgeKey]] = {id(vertex): [] for vertex in vertices}
        for vertex in vertices:
            for number, parent in enumerate(parents_of(vertex)):
                if parent is not None:
                    edges[id(parent)].append((id(vertex), number))
        self.sums = {key: EdgeSum(some or [None]) for key, some in edges.items()}

    def compute(self, task: Task) -> list[Task]:
        """Compute one product and deliver what it returns; returns the tasks that can run then."""
        key, node, vjp, cotangent = self.open_tasks.pop(task)
        contributions = node.pull(vjp, cotangent)
        del node  # and with it the saved arrays, if this was the node's last product
        return [more for (number, parent), contribution in contributions
                for more in self.deliver(parent, (key, number), contribution, cotangent)]

    def deliver(self, vertex: Any, edge: EdgeKey, contribution: Array | None,
                cotangent: Array | None = None) -> list[Task]:
        """Deliver to a vertex the contribution of an edge, computed from `cotangent`; returns the tasks opened by it.

        A vertex to which nothing has come along any edge passes None on to its parents.
        """
        tasks, deliveries = [], [(vertex, edge, contribution)]
        while deliveries:
            vertex, edge, contribution = deliveries.pop()
            if contribution is not None:
                contribution = copy_if_shared(contribution, vertex, cotangent)
            edge_sum = self.sums[id(vertex)]
            if not edge_sum.deliver(edge, contribution):
                continue
            del self.sums[id(vertex)]
            if edge_sum.total is None:
                deliveries += [(parent, (id(vertex), number), None)
                               for number, parent in enumerate(parents_of(vertex)) if parent is not None]
            elif isinstance(vertex, Node):
                tasks += self._open(vertex, edge_sum.total)
            else:
                accumulate_grad(vertex, edge_sum.total)
        return tasks

    def _open(self, vertex: Node, cotangent: Array) -> list[Task]:
        """Check and free a node whose cotangent is complete (I2); returns its tasks."""
        vertex.check()
        node = vertex.take()
        position = self.positions[id(vertex)]
        for number, vjp in enumerate(node.vjps):
            self.open_tasks[position, number] = _OpenTask(id(vertex), node, vjp, cotangent)
        return [(position, number) for number in range(len(node.vjps))]
