"""Arrays that are drawn on the host and used where the network computes: masks of dropout and stochastic depth.

A function that is captured into a CUDA graph reads them from memory that stays in its place, and each replay is given
new ones: `DrawnArrays` keeps where they are and how they are drawn.

Used by: nn/layers.py, cuda_graph.py. Test: reference_tests/training/test_captured_on_cupy.py.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy

from . import cuda
from .arrays import Array
from .context import setting
from .random import CounterRNG

Draw: TypeAlias = Callable[[CounterRNG], numpy.ndarray]


class DrawnArrays:
    """The arrays that a captured function read, each with the function that draws it."""

    def __init__(self) -> None:
        self._arrays: list[tuple[Array, Draw]] = []
        self.randomness: CounterRNG | None = None  # of the last call of `add`

    def add(self, draw: Draw, randomness: CounterRNG) -> Array:
        """An array on the GPU for what `draw` returns, not filled yet."""
        drawn = draw(randomness)
        array = cuda.empty(drawn.shape, drawn.dtype)
        self._arrays.append((array, draw))
        self.randomness = randomness
        return array

    def fill(self, randomness: CounterRNG) -> None:
        """Draw all of them for the step of `randomness` and copy them to the GPU."""
        import cupy
        for array, draw in self._arrays:
            cupy.copyto(array, cupy.asarray(draw(randomness)))


_captured: contextvars.ContextVar[DrawnArrays | None] = contextvars.ContextVar("drawn_arrays", default=None)


@contextlib.contextmanager
def captured() -> Iterator[DrawnArrays]:
    """Context in which `drawn_array` gives arrays that are filled before each replay; gives the DrawnArrays."""
    drawn = DrawnArrays()
    with setting(_captured, drawn):
        yield drawn


def drawn_array(draw: Draw, randomness: CounterRNG, backend: Any) -> Array:
    """draw(randomness), a host array, as an array of `backend`."""
    drawn = _captured.get()
    return backend.asarray(draw(randomness)) if drawn is None else drawn.add(draw, randomness)
