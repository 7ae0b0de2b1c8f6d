"""The tape: the nodes that operations leave behind, and the contexts that decide what is recorded.

A Node names the operation, its parents (where the gradients of its inputs go), and the few values that the backward
pass needs. This module knows neither tensors nor operations.
"""

import contextvars
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from .. import backend
from ..backend.arrays import Array
from ..backend.context import setting

recording = contextvars.ContextVar("recording", default=True)
checking = contextvars.ContextVar("checking", default=True)
recomputing = contextvars.ContextVar("recomputing", default=False)
hooks: contextvars.ContextVar[tuple["Hook", ...]] = contextvars.ContextVar("hooks", default=())

Hook = Callable[[str, Sequence[Any], Array, Mapping[str, Any]], None]


class GraphError(RuntimeError):
    """The graph cannot be differentiated: freed already, nothing recorded, a saved array changed in place, or a
    vector-Jacobian product that returns something else than one cotangent an input."""


def no_grad() -> AbstractContextManager[None]:
    """Context in which operations record nothing."""
    return setting(recording, False)


def is_recomputing() -> bool:
    """Whether the backward pass is running a checkpoint's function again here: what counts passes leaves it out."""
    return recomputing.get()


def trust_saved_arrays() -> AbstractContextManager[None]:
    """Context in which saved arrays are not checked for in-place changes: two passes over their memory less."""
    return setting(checking, False)


def record_operations(callback: Hook) -> AbstractContextManager[None]:
    """Context in which `callback(name, inputs, output, options)` is called after every operation, with raw arrays."""
    return setting(hooks, (*hooks.get(), callback))


class Vjp(Protocol):
    """A vector-Jacobian product as nodes have it."""

    @property
    def position(self) -> int | None:
        """The input that it belongs to; None: it returns the cotangents of all inputs."""

    def __call__(self, cotangent: Array, saved: Mapping[str, Any],
                 options: Mapping[str, Any]) -> Sequence[Array | None]:
        """The cotangents of its inputs, None for an input that gets nothing."""


class Edge(NamedTuple):
    """One input of a node: its number, and the node or leaf that its cotangent goes to (None: nowhere)."""

    number: int
    parent: Any


class Node:
    """One recorded operation.

    parents: for every input the node or leaf that its cotangent goes to, or None; saved: name -> array, shape or dtype
    that the products need; vjps: the products whose inputs have parents; options: the operation's. is_pure: whether
    the products only return cotangents (the re-run of a checkpoint also adds to the gradients of parameters).
    is_freed: whether a backward pass has taken what was saved here.
    """

    __slots__ = ("fingerprints", "is_freed", "is_pure", "name", "options", "parents", "saved", "vjps")

    def __init__(self, name: str, parents: Sequence[Any], saved: dict[str, Any], vjps: Sequence[Vjp],
                 options: Mapping[str, Any], is_pure: bool = True,
                 fingerprints: Mapping[str, int] | None = None) -> None:
        self.name = name
        self.parents = parents
        self.saved = saved
        self.vjps = vjps
        self.options = options
        self.is_pure = is_pure
        self.is_freed = False
        self.fingerprints = _fingerprints(saved) if fingerprints is None else fingerprints

    def take(self) -> "Node":
        """Free this node: its content moves to the node that is returned, for the one backward pass that may use it."""
        taken = Node(self.name, self.parents, self.saved, self.vjps, self.options, self.is_pure, {})
        self.parents, self.saved, self.vjps, self.options, self.fingerprints = (), {}, (), {}, {}
        self.is_freed = True
        return taken

    def check(self) -> None:
        """Raise GraphError if a saved array is no longer what it was."""
        for key, expected in self.fingerprints.items():
            if backend.fingerprint(self.saved[key]) != expected:
                raise GraphError(f"{self.name}: its saved {key} {tuple(self.saved[key].shape)} was changed in place "
                                 f"after the operation ran, so its derivative would be wrong")

    def edges(self, vjp: Vjp) -> list[Edge]:
        """The inputs whose cotangents a product returns."""
        if vjp.position is None:
            return [Edge(number, parent) for number, parent in enumerate(self.parents)]
        return [Edge(vjp.position, self.parents[vjp.position])]

    def pull(self, vjp: Vjp, cotangent: Array) -> list[tuple[Edge, Array | None]]:
        """The inputs that have parents, each with what the product returns for it.

        GraphError if the product returns too few cotangents or too many, or no tuple or list of them.
        """
        edges, found = self.edges(vjp), vjp(cotangent, self.saved, self.options)
        if not isinstance(found, (tuple, list)):  # an array's rows would count as cotangents
            raise GraphError(f"{self.name}: its vector-Jacobian product returned {type(found).__name__}, expected a "
                             f"tuple of {len(edges)} cotangents")
        if len(found) != len(edges):
            raise GraphError(f"{self.name}: its vector-Jacobian product returned {len(found)} cotangents for "
                             f"{len(edges)} inputs")
        return [(edge, contribution) for edge, contribution in zip(edges, found, strict=True)
                if edge.parent is not None]


def _fingerprints(saved: Mapping[str, Any]) -> dict[str, int]:
    """What saved arrays are now, if they are to be checked."""
    if not checking.get():
        return {}
    return {key: backend.fingerprint(value) for key, value in saved.items() if backend.is_array(value)}
