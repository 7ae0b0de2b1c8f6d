"""The cost of a network: parameters, and multiply-adds per image.

The multiply-adds do not come from a table of layers: an empty batch runs through the model and an operation hook counts
the operations, so the count always describes the code. Test: reference_tests/models/test_published_counts.py.
"""

import math
from contextlib import AbstractContextManager
from typing import Any

from ..autograd import no_grad, record_operations
from ..backend import backend_of
from ..backend.arrays import Array
from ..errors import InputError
from ..models import ImageClassifier
from ..nn import Module

Cost = tuple[str, tuple[tuple[int, ...], tuple[int, ...]], int]  # operation, shapes of input and weight, multiply-adds


def count_params(model: Module) -> int:
    """The number of values in the parameters of `model`; buffers are not counted."""
    if not isinstance(model, Module):
        raise InputError(f"count_params: expected a Module, got a {type(model).__name__}")
    return sum(math.prod(parameter.shape) for parameter in model.parameters().values())


def operation_costs(model: ImageClassifier, height: int, width: int, *, normalizations: bool = False) -> list[Cost]:
    """[(operation, shapes of its input and weight, multiply-adds per image)] in the order in which they run.

    It counts convolutions, linear layers and the two inside squeeze-and-excite, as the papers' tables do.
    normalizations: whether it also counts two for each value that a normalization gives, its scale and its shift, as
    timm's tables do. They count one multiply-add of a convolution as one all the same.
    """
    costs: list[Cost] = []
    with no_grad(), recorded_costs(costs, normalizations=normalizations):
        model(no_images(model, height, width))
    return costs


def no_images(model: ImageClassifier, height: int, width: int) -> Array:
    """A batch of no images of that size, of the model's dtype."""
    weight = model.linear.weight
    return backend_of(weight.data).xp.zeros((0, height, width, model.config.in_channels), dtype=weight.dtype)


def recorded_costs(costs: list[Cost], *, normalizations: bool = False) -> AbstractContextManager[None]:
    """Context in which `costs` gets the Cost of every operation that `operation_costs` counts."""
    def record(name: str, inputs: Any, output: Any, options: Any) -> None:
        if name == "conv2d":
            count = math.prod(output.shape[1:3]) * math.prod(inputs[1].shape)
        elif name == "linear":
            count = math.prod(inputs[1].shape)
        elif name == "squeeze_excite":
            count = math.prod(inputs[1].shape) + math.prod(inputs[3].shape)
        elif normalizations and (name == "normalize" or name.endswith("_norm")):
            count = 2 * math.prod(output.shape[1:])
        else:
            return
        costs.append((name, (tuple(inputs[0].shape[1:]), tuple(inputs[1].shape)), count))

    return record_operations(record)


def count_flops(model: ImageClassifier, height: int, width: int, *, normalizations: bool = False) -> int:
    """Multiply-adds of one image of `height` × `width` pixels through `model`, as the NFNet paper counts FLOPs.

    normalizations: as `operation_costs` takes it.
    """
    return sum(count for _, _, count in operation_costs(model, height, width, normalizations=normalizations))
