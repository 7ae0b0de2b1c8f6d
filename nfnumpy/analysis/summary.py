"""A network in numbers: what each of its parts gives out, owns and costs, and the memory that it takes.

Used by: summary.py. Test: reference_tests/commands/test_summary.py.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import ops
from ..autograd import Tensor, no_grad
from ..models import ImageClassifier, from_config
from ..training.step_memory import MemoryPrediction, StepMemory
from .cost import Cost, no_images, recorded_costs


class Part(NamedTuple):
    """A part of a network: the shape of its output for one image, its parameters, its multiply-adds per image."""

    name: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclasses.dataclass(frozen=True)
class Summary:
    """The parts of a network in order, for images of `image_size` pixels; memory in bytes, for `batch_size` images.

    inference: weights, activations and working memory; training: of a run in float32 on NumPy with averaged weights,
    as training.step_memory predicts it; buffers: how many values the running statistics have, which are no parameters.
    """

    parts: list[Part]
    image_size: int
    batch_size: int
    inference: int
    training: StepMemory
    buffers: int = 0

    @property
    def parameters(self) -> int:
        """Of all parts."""
        return sum(part.parameters for part in self.parts)

    @property
    def multiply_adds(self) -> int:
        """Of all parts, per image."""
        return sum(part.multiply_adds for part in self.parts)


def summarize(config: Any, image_size: int, batch_size: int = 32) -> Summary:
    """The Summary of the network with this configuration; nothing is computed but shapes."""
    model = from_config(config, shapes_only=True)
    parts: list[Part] = []

    def run(name: str, part: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        costs: list[Cost] = []
        with no_grad(), recorded_costs(costs):
            x = part(x)
        count = sum(cost for _, _, cost in costs)
        parts.append(Part(name, tuple(x.shape[1:]), _parameters(model, name), count))
        return x

    x = run("stem", model.stem, Tensor(no_images(model, image_size, image_size)))
    for k, block in enumerate(model.blocks):
        x = run(f"blocks.{k}", block, x)
    x = run("head", model.head, x)
    run("classifier", lambda x: model.linear(ops.global_mean(x)), x)
    prediction = MemoryPrediction(config, image_size)
    buffers = sum(math.prod(array.shape) for array in model.buffers().values())
    return Summary(parts, image_size, batch_size, prediction.of_inference(batch_size), prediction.of_batch(batch_size),
                   buffers)


def _parameters(model: ImageClassifier, part: str) -> int:
    """How many values the parameters of a part have."""
    return sum(math.prod(parameter.shape) for name, parameter in model.parameters().items() if _part_of(name) == part)


def _part_of(parameter: str) -> str:
    """The part that a parameter belongs to, by its name."""
    first, second, *_ = parameter.split(".")
    if first == "blocks":
        return f"blocks.{second}"
    if first.startswith("final_"):
        return "head"
    return "classifier" if first == "linear" else "stem"
