"""The ONNX file of a network: graph, inputs and outputs, metadata.

Used by: weights/__main__.py. Test: reference_tests/weights/test_onnx_export.py.
"""

import dataclasses
import importlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...backend import backend_of
from ...datasets.preprocessing import NORMALIZATIONS
from ...errors import InputError
from ...files import atomic_write
from ...models import ImageClassifier
from ...validation import POSITIVE, Interval, check_fields
from ..endings import check_ending
from .arithmetic import ARITHMETIC
from .emitter import TO_NCHW, Emitter
from .graph import Graph, Value
from .layers import LAYERS
from .normalization import NORMS
from .trace import trace

INSTALL = "pip install 'nfnumpy[onnx]'"
OPERATIONS = {**LAYERS, **NORMS, **ARITHMETIC}
OPSETS = Interval(13, 23, with_greatest=True)  # 13: Unsqueeze and Split take axes and sizes as inputs
LARGEST = 2**31 - 2**20  # bytes of constants: a protobuf message has less than 2 GiB, names and nodes included
INPUT = "images"
LOGITS = "logits"
PROBABILITIES = "probabilities"


@dataclasses.dataclass(frozen=True)
class OnnxOptions:
    """What the graph takes and gives.

    image_size: side of the images in pixels, fixed because SAME padding depends on it; batch: number of images, None
    for any; uint8: whether the input is uint8 images, which the graph normalizes, instead of normalized float32;
    layout: of the input, "NCHW" or "NHWC"; softmax: whether probabilities are a second output; opset: version of
    ONNX's operators; normalization: of the colors, a name in NORMALIZATIONS. InputError for other values.
    """

    image_size: int
    batch: int | None = None
    uint8: bool = False
    layout: str = "NCHW"
    softmax: bool = False
    opset: int = 17
    normalization: str = "imagenet"

    def __post_init__(self) -> None:
        sizes = Interval(1, 2**14, with_greatest=True)
        choices = {"layout": ("NCHW", "NHWC"), "normalization": tuple(NORMALIZATIONS)}
        check_fields(self, {"image_size": sizes, "batch": POSITIVE, "opset": OPSETS}, choices,
                     describe=lambda name, value: f"export: {name.replace('_', ' ')} {value}")

    def input_shape(self, channels: int) -> tuple[int | str, ...]:
        """The shape of the input, with the word "batch" for any number of images."""
        side = self.image_size
        image = (channels, side, side) if self.layout == "NCHW" else (side, side, channels)
        return ("batch" if self.batch is None else self.batch, *image)


def onnx_model(model: ImageClassifier, options: OnnxOptions, metadata: Mapping[str, str] | None = None) -> Any:
    """The onnx.ModelProto that computes in float32 what `model`, on NumPy, computes in evaluation.

    Input "images"; outputs "logits" and, with options.softmax, "probabilities". Weights are standardized once, here.
    Constant factors (gamma, beta, alpha, skip gains) are multiplied into the weights beside them where no nonlinearity
    is between. metadata: text of the file, by name. InputError without the package onnx, for an operation that has no
    ONNX form here, and for more than 2 GiB.
    """
    onnx = _package()
    graph = _graph_of(model, options)
    _check_size(graph)
    nodes = [onnx.helper.make_node(node.operator, node.inputs, node.outputs, name=node.outputs[0], **node.attributes)
             for node in graph.nodes]
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()]
    floats = onnx.TensorProto.FLOAT
    kind = onnx.TensorProto.UINT8 if options.uint8 else floats
    given = onnx.helper.make_tensor_value_info(INPUT, kind, options.input_shape(model.config.in_channels))
    shape = (options.input_shape(0)[0], model.config.num_classes)
    names = [LOGITS, PROBABILITIES] if options.softmax else [LOGITS]
    outputs = [onnx.helper.make_tensor_value_info(name, floats, shape) for name in names]
    body = onnx.helper.make_graph(nodes, type(model).__name__, [given], outputs, constants)
    opset = onnx.helper.make_opsetid("", options.opset)
    # The oldest format that knows the opset: a newer one would be refused by older runtimes.
    proto = onnx.helper.make_model(body, opset_imports=[opset], producer_name="nfnumpy",
                                   ir_version=onnx.helper.find_min_ir_version_for([opset]))
    onnx.helper.set_model_props(proto, dict(metadata or {}))
    onnx.checker.check_model(proto, full_check=True)
    return proto


def save_onnx(path: str | os.PathLike[str], proto: Any) -> None:
    """Write an onnx.ModelProto to `path`, whole or not at all; InputError where that is impossible."""
    check_ending(path, "onnx")
    atomic_write(path, proto.SerializeToString())


def _package() -> Any:
    """The package onnx with the parts used here; InputError that says what to install."""
    try:
        for part in ("checker", "helper", "numpy_helper"):
            importlib.import_module(f"onnx.{part}")
        return importlib.import_module("onnx")
    except ImportError:
        raise InputError(f"export needs the package onnx: {INSTALL}") from None


def _graph_of(model: ImageClassifier, options: OnnxOptions) -> Graph:
    """The graph from the input to the outputs."""
    if backend_of(model.linear.weight.data).name != "numpy":
        raise InputError("export: expected a model on NumPy; load its weights with backend='numpy'")
    recorded = trace(model, options.image_size)
    graph = Graph(options.opset)
    for name in (INPUT, LOGITS, PROBABILITIES):
        graph.unique(name)
    emitter = Emitter(graph, recorded.names)
    values = {id(recorded.images): Value(_normalized_input(graph, model, options), recorded.images.shape)}
    for step in recorded.steps:
        inputs = [values.get(id(array), array) for array in step.inputs]
        if step.operation not in OPERATIONS:
            raise InputError(f"export: the network executes {step.operation!r}, which has no ONNX form here; there are "
                             f"{', '.join(OPERATIONS)}")
        value = OPERATIONS[step.operation](emitter, *inputs, **step.options)
        values[id(step.output)] = dataclasses.replace(value, shape=tuple(step.output.shape),
                                                      uses=recorded.uses[id(step.output)])
    last = graph.applied(values[id(recorded.logits)])
    graph.rename_output(last, LOGITS)
    if options.softmax:
        graph.rename_output(graph.node("Softmax", LOGITS, axis=-1), PROBABILITIES)
    return graph


def _normalized_input(graph: Graph, model: ImageClassifier, options: OnnxOptions) -> str:
    """The value that enters the network: float32 (N, C, H, W), normalized."""
    name = INPUT
    if options.layout == "NHWC":
        name = graph.node("Transpose", name, perm=list(TO_NCHW))
    if not options.uint8:
        return name
    colors = NORMALIZATIONS[options.normalization]
    if model.config.in_channels != len(colors.mean):
        raise InputError(f"export: uint8 images have {len(colors.mean)} channels, the network's have "
                         f"{model.config.in_channels}")
    mean, deviation = (graph.constant(np.reshape(numbers, (1, -1, 1, 1)), label)
                       for label, numbers in colors._asdict().items())
    name = graph.node("Cast", name, to=_package().TensorProto.FLOAT)
    name = graph.node("Mul", name, graph.number(1.0 / 255.0))
    return graph.node("Div", graph.node("Sub", name, mean), deviation)


def _check_size(graph: Graph) -> None:
    """InputError for constants that no protobuf message can hold."""
    size = sum(array.nbytes for array in graph.constants.values())
    if size > LARGEST:
        raise InputError(f"export: the network's weights have {size / 2**30:.2f} GiB in float32, and an ONNX file in "
                         f"one piece holds less than 2 GiB")
