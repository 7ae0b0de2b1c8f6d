"""Single operations in nfnumpy: those of nfnumpy.ops on Tensors."""

import contextlib

import numpy

from ... import ops
from ...autograd import Tensor, trust_saved_arrays
from ...backend import get, reference
from ..cases.operations import OperationCase
from .timed_operation import TimedOperation


class NfnumpyOperation(TimedOperation):
    """plain: in reference mode."""

    def __init__(self, plain: bool) -> None:
        self._mode = reference if plain else contextlib.nullcontext

    def placed(self, case: OperationCase, arrays: list[numpy.ndarray]) -> list[Tensor]:
        """Tensors; the cotangent stays an array."""
        *inputs, self._cotangent = arrays
        return [Tensor(array, requires_grad=wanted) for array, wanted in zip(inputs, case.wanted, strict=True)]

    def forward(self) -> Tensor:
        """Run it on the tape."""
        with self._mode(), trust_saved_arrays(), get("numpy").computing():
            return getattr(ops, self.case.operation)(*self.inputs, **self.case.options)

    def backward(self, output: Tensor) -> None:
        """The backward pass from `output`."""
        for tensor in self.inputs:
            tensor.grad = None
        with self._mode(), trust_saved_arrays(), get("numpy").computing():
            output.backward(self._cotangent)
