"""What a network costs: parameters, and multiply-adds per image.

The multiply-adds are not computed from a table of layers: an empty batch is sent through the model, and the operations
that run are counted, so that the count is of the code and cannot drift from it.
"""

import math

from ..autograd import no_grad, record_operations
from ..backend import backend_of


def count_params(model):
    """The number of trained values in `model`."""
    return sum(math.prod(parameter.shape) for parameter in model.parameters().values())


def operation_costs(model, height, width):
    """[(operation, shapes of its input and weight, multiply-adds per image)] in the order in which they run.

    Counted are convolutions, linear layers and those inside squeeze-and-excite: what published tables count.
    """
    costs = []

    def record(name, inputs, output, options):
        if name == "conv2d":
            count = math.prod(output.shape[1:3]) * math.prod(inputs[1].shape)
        elif name == "linear":
            count = math.prod(inputs[1].shape)
        elif name == "squeeze_excite":
            count = math.prod(inputs[1].shape) + math.prod(inputs[3].shape)
        else:
            return
        costs.append((name, (tuple(inputs[0].shape[1:]), tuple(inputs[1].shape)), count))

    weight = model.linear.weight
    empty = backend_of(weight.data).xp.zeros((0, height, width, model.config.in_channels), dtype=weight.dtype)
    with no_grad(), record_operations(record):
        model(empty)
    return costs


def count_flops(model, height, width):
    """Multiply-adds of one image of `height` × `width` pixels through `model`, as the NFNet paper counts FLOPs."""
    return sum(count for _, _, count in operation_costs(model, height, width))
