"""CUDA graphs of the stand-in: what is computed while a stream captures is computed again by each launch.

A graph keeps its arrays, at their addresses, and poisons new ones: nothing that was captured has run. As on a GPU, the
host may not wait or copy while it captures, and cuBLAS refuses unless it is called through its library.
"""

import numpy as np

_operations = None  # of the graph that is being captured
_kept = None


class CaptureError(RuntimeError):
    """What CUDA does not allow while it captures."""


def capturing():
    return _operations is not None


def forbid(what):
    if capturing():
        raise CaptureError(f"operation not permitted when stream is capturing: {what}")


def keep(array):
    if capturing():
        _kept.append(array)


def poison(host):
    """Fill an array that a launch has not written yet."""
    host.view(np.uint8)[...] = 0xff


def run(operation, *keep_alive):
    """Run an operation that writes to memory that is there already: now, or with each launch of the graph."""
    if capturing():
        _operations.append(operation)
        _kept.extend(keep_alive)
    else:
        operation()


def computed(compute, wrap):
    """wrap(compute()), a new array; while capturing, one that each launch of the graph computes anew."""
    result = wrap(compute())
    if capturing() and hasattr(result, "host"):
        if result.host.size:
            poison(result.host.reshape(-1))
        _kept.append(result)
        _operations.append(lambda: np.copyto(result.host, compute()))
    return result


class Graph:
    """What was captured."""

    def __init__(self, operations, kept):
        self.operations, self.kept = operations, kept

    def launch(self, stream=None):
        forbid("launching a graph")
        for operation in self.operations:
            operation()


def begin():
    global _operations, _kept
    if capturing():
        raise CaptureError("the stream is capturing already")
    _operations, _kept = [], []


def end():
    global _operations, _kept
    graph = Graph(_operations, _kept)
    _operations = _kept = None
    return graph
