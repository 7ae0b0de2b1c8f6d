"""Passes of a training run as CUDA graphs: captured at their second call with arrays of a shape, replayed from then on.

The first call launches kernel by kernel, which also compiles what is not compiled yet. Where nothing can be captured,
on NumPy or with `nfnumpy.reference()`, every call does.

`CapturedTraining` reads copies of the weights that stay in their place, because an optimizer's step makes new arrays;
`CapturedInference` reads the weights themselves, and captures again when they are others.
Test: reference_tests/training/test_captured_on_cupy.py.
"""

from collections.abc import Callable
from typing import Any

from ..autograd import Tensor
from ..backend import backend_of, cublas, cuda_graph
from ..backend.arrays import Array
from ..errors import InputError, first_line
from ..functional.fast_cupy import implicit_convolution
from ..nn import Module
from ..optim.fast_cupy.multi_tensor import copy_arrays


def _kind(arrays):
    """What a graph is good for: shapes and dtypes of its inputs, rounding of products, and kernels of convolutions."""
    choices = cublas.tf32_is_enabled(), implicit_convolution.is_switched_on()
    return *choices, *((array.shape, array.dtype) for array in arrays)


def _captured(function: Callable[[], Any]) -> cuda_graph.CudaGraph:
    """The graph of `function`; InputError, with the way out, where CUDA does not capture it."""
    import cupy
    cupy.get_default_memory_pool().free_all_blocks()  # of calls launched one by one: the graph has its own pool
    try:
        return cuda_graph.CudaGraph(function)
    except RuntimeError as error:
        raise InputError(f"this computation cannot be captured into a CUDA graph ({first_line(str(error))}); "
                         f"--cuda-graph off launches it kernel by kernel") from error


class CapturedTraining:
    """`compute(*arrays)`, which returns arrays and leaves gradients in the parameters of `model`, as a CUDA graph.

    Every call takes a step of the model's random numbers, as `compute` does.
    """

    def __init__(self, compute: Callable[..., tuple[Array, ...]], model: Any) -> None:
        self._compute = compute
        self._model = model
        self._graphs: dict[Any, _TrainingGraph | None] = {}  # by kind; None after the first call

    def __call__(self, *arrays: Array) -> tuple[Array, ...]:
        """What `compute` returns, new arrays at each call; gradients are overwritten by the next call."""
        if not cuda_graph.is_available(backend_of(arrays[0])):
            return self._compute(*arrays)
        kind = _kind(arrays)
        if kind not in self._graphs:
            self._graphs[kind] = None
            return self._compute(*arrays)
        graph = self._graphs[kind]
        if graph is None:
            graph = self._graphs[kind] = _TrainingGraph(self._compute, self._model, arrays)
            randomness = graph.randomness
        else:
            randomness = self._model.randomness.next_step()
        return graph.run(arrays, randomness)


class _TrainingGraph:
    """One graph of a CapturedTraining, for arrays like `arrays`. randomness: the step that capturing has taken."""

    def __init__(self, compute, model, arrays):
        import cupy
        self._parameters: list[Tensor] = list(model.parameters().values())
        self._inputs = [cupy.empty_like(array) for array in arrays]
        self._weights = [cupy.empty_like(parameter.data) for parameter in self._parameters]
        current = [parameter.data for parameter in self._parameters]
        self._place(self._weights, [None] * len(current))
        try:
            self._graph = _captured(lambda: compute(*self._inputs))
            self._gradients = [parameter.grad for parameter in self._parameters]
        finally:
            self._place(current, [None] * len(current))
        self.randomness = self._graph.drawn.randomness

    def _place(self, arrays, gradients):
        for parameter, array, gradient in zip(self._parameters, arrays, gradients, strict=True):
            parameter.data = array
            parameter.grad = gradient

    def run(self, arrays, randomness):
        import cupy
        for array, place in zip(arrays, self._inputs, strict=True):
            cupy.copyto(place, array)
        current = [parameter.data for parameter in self._parameters]
        copy_arrays(current, self._weights)
        self._graph.drawn.fill(randomness)
        self._graph.replay()
        self._place(current, self._gradients)
        return tuple(output.copy() for output in self._graph.outputs)


class CapturedInference:
    """`compute(images)`, which returns an array and reads the weights of `model`, as a CUDA graph.

    The graph is that of the last images' kind and of the weights that the model had then.
    """

    def __init__(self, compute: Callable[[Array], Array], model: Module) -> None:
        self._compute = compute
        self._parameters = list(model.parameters().values())
        self._kind: Any = None
        self._weights: list[Array] = []  # kept, so that no other array can have their addresses
        self._input: Array = None
        self._graph: cuda_graph.CudaGraph | None = None

    def __call__(self, images: Array) -> Array:
        """What `compute` returns, a new array at each call."""
        if not cuda_graph.is_available(backend_of(images)):
            return self._compute(images)
        import cupy
        kind = _kind([images])
        weights = [parameter.data for parameter in self._parameters]
        if (kind, list(map(id, weights))) != (self._kind, list(map(id, self._weights))):
            self._kind, self._weights, self._graph = kind, weights, None
            return self._compute(images)
        if self._graph is None:
            self._input = cupy.empty_like(images)
            self._graph = _captured(lambda: self._compute(self._input))
        cupy.copyto(self._input, images)
        self._graph.replay()
        return self._graph.outputs.copy()
