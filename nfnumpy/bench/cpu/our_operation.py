"""Our side of single operations: those of nfnumpy.ops on Tensors."""

import contextlib

from ... import ops
from ...autograd import Tensor, trust_saved_arrays
from ...backend import get, reference
from .timed_operation import TimedOperation


class OurOperation(TimedOperation):
    """plain: in reference mode."""

    def __init__(self, plain):
        self._mode = reference if plain else contextlib.nullcontext

    def placed(self, case, arrays):
        """Tensors, and the cotangent as an array."""
        *inputs, self._cotangent = arrays
        return [Tensor(array, requires_grad=wanted) for array, wanted in zip(inputs, case.wanted)]

    def forward(self):
        """Run it on the tape."""
        with self._mode(), trust_saved_arrays(), get("numpy").computing():
            return getattr(ops, self.case.operation)(*self.inputs, **self.case.options)

    def back(self, output):
        """Walk the tape."""
        for tensor in self.inputs:
            tensor.grad = None
        with self._mode(), trust_saved_arrays(), get("numpy").computing():
            output.backward(self._cotangent)
