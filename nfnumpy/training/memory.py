"""What the two passes of a training step hold in memory, from shapes alone.

An empty batch runs through the model, and a hook records its operations. What each of them saves for the backward pass
follows from the signatures of its vector-Jacobian products, so that the prediction describes the code. The passes are
then repeated on numbers of bytes: an array counts from the operation that makes it to the last one that needs it, and
in the backward pass cotangents replace what the forward pass saved.

Used by: training/step_memory.py. Test: reference_tests/training/test_memory.py.
"""

import math
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from .. import ops
from ..autograd import no_grad, record_operations
from ..backend import backend_of
from ..backend.arrays import Array
from ..models import ImageClassifier
from ..nn import Mode

OPERATIONS = {function.operation.name: function.operation for function in vars(ops).values()
              if hasattr(function, "operation")}

NO_ARRAY = -1  # in place of an array's number
Rounding = Callable[[int], int]  # bytes of an array -> bytes that it takes


class Recorded(NamedTuple):
    """One operation, with its arrays by number. wanted: inputs that get a cotangent; without any nothing is saved."""

    inputs: frozenset[int]
    output: int
    saved: frozenset[int]
    wanted: tuple[int, ...]


class Recording:
    """The operations of one training pass of `model` over images of a size, and what every array takes.

    An empty batch has no statistics, so normalizations take the running ones, of the same shapes.
    Parameters whose `requires_grad` is False get no gradient. images: the number of the array of images.
    """

    def __init__(self, model: ImageClassifier, height: int, width: int) -> None:
        self.operations: list[Recorded] = []
        self._bytes: list[tuple[int, int]] = []  # of each array: bytes for each image, and bytes for all of them
        self._numbers: dict[int, tuple[weakref.ref[Any], int]] = {}  # by id, which a later array may have again
        numbers = {self._number(parameter.data): parameter for parameter in model.parameters().values()}
        self.parameters = set(numbers)
        self._gets_cotangent = {number for number, parameter in numbers.items() if parameter.requires_grad}
        weight = model.linear.weight.data
        images = backend_of(weight).xp.zeros((0, height, width, model.config.in_channels), dtype=weight.dtype)
        self.images = self._number(images)
        mode = Mode(training=True, randomness=model.randomness, batch_statistics=False)
        with no_grad(), record_operations(self._record):
            model.run(images, mode)

    def _number(self, array: Array) -> int:
        """The number of an array; a new one for an array that was not seen before."""
        known = self._numbers.get(id(array))
        if known is not None and known[0]() is array:
            return known[1]
        number = len(self._bytes)
        self._numbers[id(array)] = weakref.ref(array), number
        is_batch = bool(array.shape) and array.shape[0] == 0
        size = math.prod(array.shape[1:] if is_batch else array.shape) * array.dtype.itemsize
        self._bytes.append((size, 0) if is_batch else (0, size))
        return number

    def _record(self, name: str, inputs: Sequence[Any], output: Array, options: Mapping[str, Any]) -> None:
        """The hook: add one operation."""
        numbers = [self._number(array) if hasattr(array, "dtype") else NO_ARRAY for array in inputs]
        of_output = self._number(output)
        wanted = tuple(number for number in numbers if number in self._gets_cotangent)
        saved: set[int] = set()
        if wanted:
            self._gets_cotangent.add(of_output)
            for vjp in OPERATIONS[name].vjps:
                if vjp.position is None or numbers[vjp.position] in wanted:
                    saved |= {of_output if kind == "output" else numbers[position]
                              for _, kind, position in vjp.needed if kind == "output" or
                              (kind == "array" and position < len(numbers))}
        self.operations.append(Recorded(frozenset(numbers) - {NO_ARRAY}, of_output, frozenset(saved) - {NO_ARRAY},
                                        wanted))

    def sizes(self, batch_size: float, rounding: Rounding) -> list[int]:
        """The bytes of every array for a batch of so many images; half an image in float32 is one in half precision."""
        return [rounding(math.ceil(batch_size * each) + fixed) for each, fixed in self._bytes]


def peak_of_passes(recording: Recording, batch_size: float, rounding: Rounding = int) -> int:
    """The most bytes that both passes hold at a time, gradients included, weights not; batch_size as in `sizes`."""
    sizes = recording.sizes(batch_size, rounding)
    passes = _Passes(sizes, recording.parameters)
    savers = Counter(number for one in recording.operations for number in one.saved)
    _go_forward(passes, recording, savers)
    cotangents = {recording.operations[-1].output}
    passes.add(sizes[recording.operations[-1].output])
    for one in reversed(recording.operations):
        if not one.wanted:
            continue
        passes.add(sum(sizes[number] for number in one.wanted))
        passes.add(-sum(sizes[number] for number in one.wanted if number in cotangents) - sizes[one.output])
        cotangents.update(one.wanted)
        for number in one.saved:
            savers[number] -= 1
            if not savers[number]:
                passes.free(number)
    return passes.peak


def peak_of_inference(recording: Recording, batch_size: float, rounding: Rounding = int) -> int:
    """The most bytes that a forward pass holds at a time when nothing is saved, weights not included."""
    passes = _Passes(recording.sizes(batch_size, rounding), recording.parameters)
    _go_forward(passes, recording, saved=())
    return passes.peak


class _Passes:
    """Bytes that are held, now and at most, beside the parameters."""

    def __init__(self, sizes: list[int], parameters: set[int]) -> None:
        self.now = self.peak = 0
        self._sizes = sizes
        self._held: set[int] = set()
        self._parameters = parameters

    def hold(self, number: int) -> None:
        """Count an array, unless it is held already or a parameter."""
        if number not in self._held and number not in self._parameters:
            self._held.add(number)
            self.add(self._sizes[number])

    def free(self, number: int) -> None:
        """No longer count an array."""
        if number in self._held:
            self._held.remove(number)
            self.add(-self._sizes[number])

    def add(self, size: int) -> None:
        """Count so many bytes more."""
        self.now += size
        self.peak = max(self.peak, self.now)


def _go_forward(passes: _Passes, recording: Recording, saved: Collection[int]) -> None:
    """Count the arrays of a forward pass, at whose end those in `saved` are still held."""
    last_use = {number: position for position, one in enumerate(recording.operations)
                for number in (*one.inputs, one.output)}
    passes.hold(recording.images)
    for position, one in enumerate(recording.operations):
        passes.hold(one.output)
        for number in (*one.inputs, one.output):
            if last_use[number] == position and number not in saved:
                passes.free(number)
