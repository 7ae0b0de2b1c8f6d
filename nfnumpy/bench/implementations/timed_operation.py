"""How one operation is timed, the same in every implementation."""

import abc
import math
from typing import Any

import numpy

from ..cases.operations import FORWARD, OperationCase
from ..timing import host_milliseconds

MOST_TIMES = 50  # that a sample repeats a short operation


class TimedOperation(abc.ABC):
    """Has the inputs of one OperationCase at a time. A subclass places them, runs the operation and differentiates."""

    def prepare(self, case: OperationCase, direction: str, least: float) -> None:
        """Make the inputs and the cotangent, warm up, and find how often a sample repeats what is measured.

        least: milliseconds that a sample takes.
        """
        random = numpy.random.default_rng(0)
        shapes = (*case.shapes, case.output_shape())
        arrays = [numpy.asarray(random.standard_normal(shape, dtype=numpy.float32)) for shape in shapes]
        self.inputs = self.placed(case, arrays)
        self.case, self.direction, self.times = case, direction, 1
        self.milliseconds()
        self.times = max(1, min(MOST_TIMES, math.ceil(least / max(1e-3, self.milliseconds()))))

    def milliseconds(self) -> float:
        """One sample."""
        return sum(self._once() for _ in range(self.times)) / self.times

    def _once(self):
        if self.direction == FORWARD:
            return host_milliseconds(self.forward)
        output = self.forward()
        return host_milliseconds(lambda: self.backward(output))

    @abc.abstractmethod
    def placed(self, case: OperationCase, arrays: list[numpy.ndarray]) -> list[Any]:
        """The inputs of the case in this implementation; `arrays` are NHWC and HWIO, the last is the cotangent."""

    @abc.abstractmethod
    def forward(self) -> Any:
        """Run the operation, as in training; returns what `backward` needs."""

    @abc.abstractmethod
    def backward(self, output: Any) -> None:
        """The backward pass to the inputs that are wanted."""
