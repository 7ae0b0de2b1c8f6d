"""CUDA graphs: the launches of a function captured once, and started together ever after.

A training step has about a thousand launches, each of which costs the host 50 µs or more. Captured, they cost it one.

What a captured function may not do: wait for the GPU, copy from host memory, or return something that depends on
values. Its arrays are in a memory pool of the graph's own, which nothing else uses, because every replay writes to the
same places.

Used by: training/captured.py. Test: reference_tests/training/test_captured_on_cupy.py.
"""

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

from . import cublas, cublas_library
from .collector import without_collector
from .dispatch import is_reference
from .drawn_arrays import captured as captured_draws

OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation

_graphs: "weakref.WeakSet[CudaGraph]" = weakref.WeakSet()


def is_available(backend: Any) -> bool:
    """Whether launches can be captured: kernels on CuPy (no formula in their place) and cuBLAS's library at hand."""
    return backend.name == "cupy" and not is_reference() and cublas_library.load() is not None


def bytes_held() -> int:
    """What the pools of all graphs have taken from the GPU."""
    return sum(graph.pool.total_bytes() for graph in _graphs)


def _allocate(size):
    """Memory of the GPU for a graph's pool; MemoryError where there is none.

    At CuPy's own error the pool would first free what it has left, which captured launches use already.
    """
    import cupy
    try:
        return cupy.cuda.MemoryPointer(cupy.cuda.Memory(size), 0)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        if error.status != OUT_OF_MEMORY:
            raise
        raise MemoryError(f"out of memory: {size} bytes for a CUDA graph") from error


class CudaGraph:
    """The launches of one call of `function`, which are recorded but not run before `replay`.

    outputs: what `function` returned: arrays whose values are those of the last replay. drawn: the DrawnArrays that
    it reads; fill them before a replay.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        import cupy
        self.pool = cupy.cuda.MemoryPool(_allocate)
        stream = cupy.cuda.Stream(non_blocking=True)  # the default stream cannot capture
        # Without the collector, which could free an older graph while this one is captured.
        with without_collector(), stream, cupy.cuda.using_allocator(self.pool.malloc), \
                captured_draws() as self.drawn, cublas.captured(stream) as self._handle:
            stream.begin_capture()
            try:
                self.outputs = function()
            except BaseException:
                with contextlib.suppress(Exception):  # an error of CUDA has ended the capture already
                    stream.end_capture()
                raise
            self._graph = stream.end_capture()
        _graphs.add(self)

    def replay(self) -> None:
        """Start all launches on the current stream."""
        self._graph.launch()
