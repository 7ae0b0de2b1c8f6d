"""`autograd.walk` on all our threads: whoever has time goes on wherever the cotangents have come.

The way back through a network is a chain of derivatives to images, and beside each link those to its parameters, which
nobody waits for. Two threads that cut each of these in two wait for each other a dozen times a layer; here one goes
along the chain while another follows with what lies beside it, and they help each other out where one is ahead.
"""

import threading

from . import autograd, backend
from .functional.elementwise import add

LARGE = 1 << 20  # bytes that an operation has saved on average: with less, the threads wait for the interpreter


@backend.fast_path("numpy", "autograd.walk")
def walk(cotangent, root):
    """The formula's sums, whoever comes first."""
    if backend.threads.count() == 1:
        return NotImplemented
    places = list(autograd.from_last_to_first(root))
    if not _is_worth_it(places):
        return NotImplemented
    way = _Way(places)
    backend.crew.in_order(way.arrive(root, None, cotangent), way.follow)


def _is_worth_it(places):
    """Whether the operations are large, and going back through one changes nothing that others may, too."""
    nodes = [place for place in places if isinstance(place, autograd.Node)]
    saved = sum(getattr(value, "nbytes", 0) for node in nodes for value in node.saved.values())
    return nodes and saved >= LARGE * len(nodes) and all(node.is_closed for node in nodes)


class _Sum:
    """What has come to one place, added up in the order of its edges, in whatever order it comes."""

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
    """One way back. A task (position of a node, number of one of its ways) stands for a derivative to compute."""

    def __init__(self, places):
        self.positions, self.tasks = {id(place): position for position, place in enumerate(places)}, {}
        edges = {id(place): [] for place in places}
        for place in places:
            for number, parent in enumerate(_parents(place)):
                if parent is not None:
                    edges[id(parent)].append((id(place), number))
        self.sums = {key: _Sum(some or [None]) for key, some in edges.items()}

    def follow(self, task):
        """Compute one derivative; returns the tasks that can be done then."""
        node, chosen, way, parents, saved, cotangent = self.tasks.pop(task)
        found = way(saved, cotangent)
        del saved
        return [more for number, contribution in zip(chosen, found) if parents[number] is not None
                for more in self.arrive(parents[number], (id(node), number), contribution, cotangent)]

    def arrive(self, place, edge, contribution, cotangent=None):
        """Hand a place what came along an edge, computed from `cotangent`; returns the tasks that can be done then."""
        tasks, coming = [], [(place, edge, contribution)]
        while coming:
            place, edge, contribution = coming.pop()
            if contribution is not None:
                contribution = autograd.own(contribution, place, cotangent)
            waiting = self.sums[id(place)]
            if not waiting.put(edge, contribution):
                continue
            del self.sums[id(place)]
            if waiting.total is None:
                coming += [(parent, (id(place), number), None) for number, parent in enumerate(_parents(place))
                           if parent is not None]
            elif isinstance(place, autograd.Tensor):
                autograd.keep(place, waiting.total)
            else:
                tasks += self._open(place, waiting.total)
        return tasks

    def _open(self, node, cotangent):
        """The tasks of a node whose cotangent is complete."""
        node.check()
        saved, ways, parents = node.release()
        position = self.positions[id(node)]
        for number, (chosen, way) in enumerate(ways):
            self.tasks[position, number] = node, chosen, way, parents, saved, cotangent
        return [(position, number) for number in range(len(ways))]


def _parents(place):
    return place.parents if isinstance(place, autograd.Node) else ()
