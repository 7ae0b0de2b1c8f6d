"""`autograd.backward_pass` on all our threads: whoever has time goes on wherever the cotangents have come.

The way back through a network is a chain of derivatives to images, and beside each link those to its parameters, which
nobody waits for. Two threads that cut each of these in two wait for each other a dozen times a layer; here one goes
along the chain while another follows with what lies beside it, and they help each other out where one is ahead.
"""

import threading

from .. import autograd, backend
from ..functional.arithmetic import add

LARGE = 1 << 20  # bytes that an operation has saved on average: with less, the threads wait for the interpreter


@autograd.backward_pass.fast_path("numpy")
def backward_pass(cotangent, root):
    """The formula's sums, whoever comes first."""
    if backend.blas_threads.thread_count() == 1:
        return NotImplemented
    vertices = list(autograd.reverse_topological_order(root))
    if not _is_worth_it(vertices):
        return NotImplemented
    way = _Way(vertices)
    backend.thread_pool.run_task_graph(way.arrive(root, None, cotangent), way.follow)


def _is_worth_it(vertices):
    """Whether the operations are large, and going back through one changes nothing that others may, too."""
    nodes = [vertex for vertex in vertices if isinstance(vertex, autograd.Node)]
    saved = sum(getattr(value, "nbytes", 0) for node in nodes for value in node.saved.values())
    return nodes and saved >= LARGE * len(nodes) and all(node.is_pure for node in nodes)


class _Sum:
    """What has come to one vertex, added up in the order of its edges, in whatever order it comes."""

    def __init__(self, edges):
        self.edges, self.came, self.total = edges[::-1], {}, None
        self.lock, self.is_adding = threading.Lock(), False

    def put(self, edge, contribution):
        """Add what came along an edge (or None) as soon as all before it have come; returns whether it was the last."""
        with self.lock:
            self.came[edge] = contribution
            if self.is_adding:
                return False
            self.is_adding = True
        while True:
            with self.lock:
                if not self.edges or self.edges[-1] not in self.came:
                    self.is_adding = False
                    return not self.edges
                contribution = self.came.pop(self.edges.pop())
            if contribution is not None:
                self.total = contribution if self.total is None else add(self.total, contribution)


class _Way:
    """One way back. A task (position of a node, number of one of its vjps) stands for a derivative to compute."""

    def __init__(self, vertices):
        self.positions, self.tasks = {id(vertex): position for position, vertex in enumerate(vertices)}, {}
        edges = {id(vertex): [] for vertex in vertices}
        for vertex in vertices:
            for number, parent in enumerate(_parents(vertex)):
                if parent is not None:
                    edges[id(parent)].append((id(vertex), number))
        self.sums = {key: _Sum(some or [None]) for key, some in edges.items()}

    def follow(self, task):
        """Compute one derivative; returns the tasks that can be done then."""
        node, chosen, way, parents, saved, cotangent = self.tasks.pop(task)
        found = way(saved, cotangent)
        del saved
        return [more for number, contribution in zip(chosen, found) if parents[number] is not None
                for more in self.arrive(parents[number], (id(node), number), contribution, cotangent)]

    def arrive(self, vertex, edge, contribution, cotangent=None):
        """Hand a vertex what came along an edge, computed from `cotangent`; returns the tasks that can be done then."""
        tasks, coming = [], [(vertex, edge, contribution)]
        while coming:
            vertex, edge, contribution = coming.pop()
            if contribution is not None:
                contribution = autograd.copy_if_shared(contribution, vertex, cotangent)
            waiting = self.sums[id(vertex)]
            if not waiting.put(edge, contribution):
                continue
            del self.sums[id(vertex)]
            if waiting.total is None:
                coming += [(parent, (id(vertex), number), None) for number, parent in enumerate(_parents(vertex))
                           if parent is not None]
            elif isinstance(vertex, autograd.Tensor):
                autograd.accumulate_grad(vertex, waiting.total)
            else:
                tasks += self._open(vertex, waiting.total)
        return tasks

    def _open(self, node, cotangent):
        """The tasks of a node whose cotangent is complete."""
        node.check()
        saved, vjps, parents = node.take()
        position = self.positions[id(node)]
        for number, (chosen, way) in enumerate(vjps):
            self.tasks[position, number] = node, chosen, way, parents, saved, cotangent
        return [(position, number) for number in range(len(vjps))]


def _parents(vertex):
    return vertex.parents if isinstance(vertex, autograd.Node) else ()
