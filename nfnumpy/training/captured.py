"""Passes of a training run as CUDA graphs: captured at their second call with arrays of a shape, replayed from then on.

The first call launches kernel by kernel, which also compiles what is not compiled yet. Where nothing can be captured,
on NumPy or with `nfnumpy.reference()`, every call does.

`CapturedTraining` reads copies of the weights and buffers that stay in their place, because an optimizer's step makes
new arrays, and so does a pass that updates running statistics; `CapturedInference` reads the weights and buffers
themselves, and captures again when they are others.
Test: reference_tests/training/test_captured_on_cupy.py.
"""

from collections.abc import Callable
from typing import Any

from ..autograd import Tensor
from ..backend import backend_of, cublas, cuda_graph, is_floating
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
    """`compute(*arrays, **options)`, which returns arrays and leaves gradients in the parameters of `model`, as CUDA
    graphs: one for each kind of arrays and each value of the options.

    Every call takes a step of the model's random numbers, as `compute` does, and updates its buffers as that does.
    """

    def __init__(self, compute: Callable[..., tuple[Array, ...]], model: Any) -> None:
        self._compute = compute
        self._model = model
        self._graphs: dict[Any, _TrainingGraph | None] = {}  # by kind; None after the first call

    def __call__(self, *arrays: Array, **options: Any) -> tuple[Array, ...]:
        """What `compute` returns, new arrays at each call; gradients are overwritten by the next call."""
        if not cuda_graph.is_available(backend_of(arrays[0])):
            return self._compute(*arrays, **options)
        kind = (*_kind(arrays), *sorted(options.items()))
        if kind not in self._graphs:
            self._graphs[kind] = None
            return self._compute(*arrays, **options)
        graph = self._graphs[kind]
        if graph is None:
            graph = self._graphs[kind] = _TrainingGraph(lambda *inputs: self._compute(*inputs, **options), self._model,
                                                        arrays)
            randomness = graph.randomness
        else:
            randomness = self._model.randomness.next_step()
        return graph.run(arrays, randomness)


class _Buffers:
    """The buffers of a model, found once, as arrays in the order of their names."""

    def __init__(self, model):
        self._owners = list(model.buffer_owners().values())

    def get(self):
        return [getattr(module, attribute) for module, attribute in self._owners]

    def put(self, arrays):
        for (module, attribute), array in zip(self._owners, arrays, strict=True):
            setattr(module, attribute, array)


def _copy(sources, targets):
    """Copy arrays of any dtypes into others: those of weights in one launch."""
    import cupy
    pairs = list(zip(sources, targets, strict=True))
    numbers = [pair for pair in pairs if is_floating(pair[0].dtype)]
    if numbers:
        copy_arrays(*map(list, zip(*numbers, strict=True)))
    for source, target in pairs:
        if not is_floating(source.dtype):
            cupy.copyto(target, source)


class _TrainingGraph:
    """One graph of a CapturedTraining, for arrays like `arrays`. randomness: the step that capturing has taken."""

    def __init__(self, compute, model, arrays):
        import cupy
        self._parameters: list[Tensor] = list(model.parameters().values())
        self._buffers = _Buffers(model)
        self._inputs = [cupy.empty_like(array) for array in arrays]
        self._weights = [cupy.empty_like(parameter.data) for parameter in self._parameters]
        self._old_buffers = [cupy.empty_like(buffer) for buffer in self._buffers.get()]
        current, buffers = [parameter.data for parameter in self._parameters], self._buffers.get()
        self._place(self._weights, [None] * len(current))
        self._buffers.put(self._old_buffers)
        try:
            self._graph = _captured(lambda: compute(*self._inputs))
            self._gradients = [parameter.grad for parameter in self._parameters]
            self._new_buffers = self._buffers.get()
        finally:
            self._place(current, [None] * len(current))
            self._buffers.put(buffers)
        self.randomness = self._graph.drawn.randomness

    def _place(self, arrays, gradients):
        for parameter, array, gradient in zip(self._parameters, arrays, gradients, strict=True):
            parameter.data = array
            parameter.grad = gradient

    def run(self, arrays, randomness):
        import cupy
        for array, place in zip(arrays, self._inputs, strict=True):
            cupy.copyto(place, array)
        current, buffers = [parameter.data for parameter in self._parameters], self._buffers.get()
        _copy([*current, *buffers], [*self._weights, *self._old_buffers])
        self._graph.drawn.fill(randomness)
        self._graph.replay()
        self._place(current, self._gradients)
        self._put_new_buffers(buffers)
        return tuple(output.copy() for output in self._graph.outputs)

    def _put_new_buffers(self, buffers):
        """Replace those of the model's `buffers` that the graph computes, by copies: a replay overwrites its own."""
        import cupy
        changed = [k for k, (old, new) in enumerate(zip(self._old_buffers, self._new_buffers, strict=True))
                   if new is not old]
        copies = [cupy.empty_like(self._new_buffers[k]) for k in changed]
        _copy([self._new_buffers[k] for k in changed], copies)
        for k, array in zip(changed, copies, strict=True):
            buffers[k] = array
        self._buffers.put(buffers)


class CapturedInference:
    """`compute(images)`, which returns an array and reads the weights and buffers of `model`, as a CUDA graph.

    The graph is that of the last images' kind and of the weights and buffers that the model had then.
    """

    def __init__(self, compute: Callable[[Array], Array], model: Module) -> None:
        self._compute = compute
        self._parameters = list(model.parameters().values())
        self._buffers = _Buffers(model)
        self._kind: Any = None
        self._state: list[Array] = []  # kept, so that no other array can have their addresses
        self._input: Array = None
        self._graph: cuda_graph.CudaGraph | None = None

    def __call__(self, images: Array) -> Array:
        """What `compute` returns, a new array at each call."""
        if not cuda_graph.is_available(backend_of(images)):
            return self._compute(images)
        import cupy
        kind = _kind([images])
        state = [*(parameter.data for parameter in self._parameters), *self._buffers.get()]
        if (kind, list(map(id, state))) != (self._kind, list(map(id, self._state))):
            self._kind, self._state, self._graph = kind, state, None
            return self._compute(images)
        if self._graph is None:
            self._input = cupy.empty_like(images)
            self._graph = _captured(lambda: self._compute(self._input))
        cupy.copyto(self._input, images)
        self._graph.replay()
        return self._graph.outputs.copy()
