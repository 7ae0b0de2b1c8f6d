"""Gradient checkpointing: less memory for a second forward computation. Test: autograd/test_checkpoint.py."""

from collections.abc import Callable, Mapping
from typing import Any

from ..backend import DrawnSteps, repeatable_steps
from ..backend.arrays import Array
from ..backend.context import setting
from ..errors import InputError
from .tape import Node, no_grad, recomputing, recording
from .tensor import Tensor, graph_parent


class _Rerun:
    """The vector-Jacobian product of a checkpoint: run the function again, recorded, and differentiate that run."""

    position = None  # it returns the cotangents of all inputs

    def __init__(self, function: Callable[..., Tensor], inputs: tuple[Any, ...]) -> None:
        self.function = function
        self.drawn = DrawnSteps()
        self.is_tensor = [isinstance(value, Tensor) for value in inputs]
        self.is_wanted = [graph_parent(value) is not None for value in inputs]

    def __call__(self, cotangent: Array, saved: Mapping[str, Any], options: Mapping[str, Any]) -> list[Array | None]:
        inputs = [Tensor(value, requires_grad=wanted) if tensor else value
                  for value, wanted, tensor in zip(saved.values(), self.is_wanted, self.is_tensor, strict=True)]
        with setting(recording, True), repeatable_steps(self.drawn):
            with setting(recomputing, True):
                output = self.function(*inputs)
            if graph_parent(output) is not None:
                output.backward(cotangent)
        return [value.grad if wanted else None for value, wanted in zip(inputs, self.is_wanted, strict=True)]


def checkpoint(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """function(*inputs) without saving anything inside it: the backward pass runs it again and differentiates that run.

    `function` takes Tensors and returns one; parameters it reaches by itself get their gradients too. It must compute
    the same both times: training passes draw the same random numbers again; parameters must not be replaced in between.
    In the second run `is_recomputing()` is true, so that running statistics take a batch in once.
    Source: Chen et al. (2016), arXiv 1604.06174.
    """
    if not recording.get():
        return function(*inputs)
    rerun = _Rerun(function, inputs)
    with no_grad(), repeatable_steps(rerun.drawn):
        output = function(*inputs)
    if not isinstance(output, Tensor):
        raise InputError(f"checkpoint: expected a function that returns one Tensor, got {type(output).__name__}")
    saved = {f"input {number}": value.data if isinstance(value, Tensor) else value
             for number, value in enumerate(inputs)}
    result = Tensor(output.data)
    parents = tuple(graph_parent(value) for value in inputs)
    result.node = Node("checkpoint", parents, saved, (rerun,), {}, is_pure=False)
    return result
