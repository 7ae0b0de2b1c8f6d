"""How one operation is timed, the same way on both sides."""

import abc
import math

import numpy

from ..timing import host_milliseconds
from .cases import FORWARD

MOST_TIMES = 50  # that a sample repeats a short operation


class TimedOperation(abc.ABC):
    """Holds the inputs of one Case at a time. A subclass says how they lie there, what runs, and how to go back."""

    def prepare(self, case, direction, least):
        """Make the inputs and the cotangent, warm up, and find how often a sample repeats what is measured.

        least: milliseconds that a sample takes.
        """
        random = numpy.random.default_rng(0)
        draw = [random.standard_normal(shape, dtype=numpy.float32) for shape in (*case.shapes, case.output_shape())]
        self.inputs = self.placed(case, [numpy.asarray(array) for array in draw])
        self.case, self.direction, self.times = case, direction, 1
        self.milliseconds()
        self.times = max(1, min(MOST_TIMES, math.ceil(least / max(1e-3, self.milliseconds()))))

    def milliseconds(self):
        """One sample."""
        return sum(self._once() for _ in range(self.times)) / self.times

    def _once(self):
        if self.direction == FORWARD:
            return host_milliseconds(self.forward)
        output = self.forward()
        return host_milliseconds(lambda: self.back(output))

    @abc.abstractmethod
    def placed(self, case, arrays):
        """The inputs of the case as this side has them; `arrays` are in our layout, the last is the cotangent."""

    @abc.abstractmethod
    def forward(self):
        """Run the operation, as in training; returns what `back` needs."""

    @abc.abstractmethod
    def back(self, output):
        """Go back through it to the inputs that are wanted."""
