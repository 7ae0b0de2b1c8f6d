"""The operations that a network executes, in order, divided into those that see the images and those that do not.

Used by: model.py. Test: reference_tests/weights/test_onnx_export.py.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...autograd import no_grad, record_operations
from ...backend import get, is_array
from ...backend.arrays import Array
from ...errors import InputError
from ...models import ImageClassifier

OUTSIDE = "the network has an array that depends on the images and is computed outside of nfnumpy.ops"


class Step(NamedTuple):
    """One executed operation: its name in nfnumpy.ops, its raw inputs (arrays, numbers or None), output and options."""

    operation: str
    inputs: Sequence[Any]
    output: Array
    options: Mapping[str, Any]


class Trace(NamedTuple):
    """What one evaluation of a network executed.

    images, logits: what went in and came out; steps: the operations whose result depends on the images; names: id of an
    array that does not depend on them -> the name of the parameter or buffer that it was made from; uses: id of an
    array -> how many inputs of `steps` it is; constants: these arrays, kept alive, so that no other array gets their
    id.
    """

    images: Array
    logits: Array
    steps: list[Step]
    names: dict[int, str]
    uses: Counter[int]
    constants: list[Array]


def trace(model: ImageClassifier, image_size: int) -> Trace:
    """The evaluation of `model`, on NumPy, for images of `image_size` × `image_size` pixels.

    The batch is empty: shapes are those of the real computation and no image takes time. What depends on parameters
    only, such as standardized weights, has its values. InputError where not all that depends on images is recorded.
    """
    names = {id(array): name for name, array in model.state_dict().items()}
    images = get("numpy").xp.zeros((0, image_size, image_size, model.config.in_channels), model.linear.weight.dtype)
    depending = {id(images)}
    steps: list[Step] = []
    constants: list[Array] = []

    def record(name: str, inputs: Sequence[Any], output: Array, options: Mapping[str, Any]) -> None:
        if any(id(array) in depending for array in inputs):
            if not is_array(output):  # one number, from which the tape makes a new array
                raise InputError(f"export: {name} of all images' values has no ONNX form here")
            depending.add(id(output))
            steps.append(Step(name, inputs, output, options))
        else:
            names[id(output)] = next((names[id(array)] for array in inputs if id(array) in names), name)
            constants.append(output)

    with no_grad(), record_operations(record):
        logits = model(images).data
    if id(logits) not in depending:
        raise InputError(f"export: {OUTSIDE}")
    uses = Counter(id(array) for step in steps for array in step.inputs if is_array(array))
    return Trace(images, logits, steps, names, uses, constants)
