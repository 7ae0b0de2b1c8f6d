"""The nonlinearities of nfnumpy as compositions of ONNX operators.

Only operators that runtimes of every opset here have: ONNX's own Gelu exists from opset 20 on and is used there.
Used by: layers.py. Test: reference_tests/weights/test_onnx_export.py.
"""

import math
from collections.abc import Callable
from typing import Any

from ...functional.activations import LEAKY_SLOPE, SELU_ALPHA, SELU_SCALE, TANH_GELU_CUBIC, TANH_GELU_SLOPE
from .graph import Graph, Value

GELU_SINCE = 20  # opset


def _operator(name: str, **attributes: Any) -> Callable[[Graph, str], Value]:
    """A nonlinearity that is one ONNX operator."""
    return lambda graph, x: Value(graph.node(name, x, **attributes))


def _gelu(graph: Graph, x: str) -> Value:
    """x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))."""
    if graph.opset >= GELU_SINCE:
        return Value(graph.node("Gelu", x, approximate="tanh"))
    cubed = graph.node("Mul", graph.node("Mul", x, x), x)
    inner = graph.node("Add", x, graph.node("Mul", cubed, graph.number(TANH_GELU_CUBIC)))
    return _half_of_product(graph, x, graph.node("Tanh", graph.node("Mul", inner, graph.number(TANH_GELU_SLOPE))))


def _gelu_erf(graph: Graph, x: str) -> Value:
    """x/2·(1 + erf(x/√2))."""
    if graph.opset >= GELU_SINCE:
        return Value(graph.node("Gelu", x))
    return _half_of_product(graph, x, graph.node("Erf", graph.node("Mul", x, graph.number(math.sqrt(0.5)))))


def _half_of_product(graph: Graph, x: str, y: str) -> Value:
    """x/2·(1 + y)."""
    return Value(graph.node("Mul", x, graph.node("Add", y, graph.number(1.0))), scale=0.5)


def _relu6(graph: Graph, x: str) -> Value:
    return Value(graph.node("Clip", x, graph.number(0.0), graph.number(6.0)))


def _silu(graph: Graph, x: str) -> Value:
    return Value(graph.node("Mul", x, graph.node("Sigmoid", x)))


def _log_sigmoid(graph: Graph, x: str) -> Value:
    """-softplus(-x)."""
    return Value(graph.node("Softplus", graph.node("Neg", x)), scale=-1.0)


ELEMENTWISE: dict[str, Callable[[Graph, str], Value]] = {
    "identity": _operator("Identity"),
    "relu": _operator("Relu"),
    "relu6": _relu6,
    "leaky_relu": _operator("LeakyRelu", alpha=LEAKY_SLOPE),
    "tanh": _operator("Tanh"),
    "sigmoid": _operator("Sigmoid"),
    "gelu": _gelu,
    "gelu_erf": _gelu_erf,
    "silu": _silu,
    "elu": _operator("Elu", alpha=1.0),
    "celu": _operator("Elu", alpha=1.0),
    "selu": _operator("Selu", alpha=SELU_ALPHA, gamma=SELU_SCALE),
    "softplus": _operator("Softplus"),
    "log_sigmoid": _log_sigmoid,
    "softsign": _operator("Softsign"),
}


def _along(operator: str) -> Callable[[Graph, str, int, int], Value]:
    """A nonlinearity that is one ONNX operator with the axis of channels."""
    return lambda graph, x, axis, channels: Value(graph.node(operator, x, axis=axis))


def _glu(graph: Graph, x: str, axis: int, channels: int) -> Value:
    """a·sigmoid(b) of the halves (a, b) of the channels."""
    halves = graph.integers(channels // 2, channels // 2)
    a, b = graph.node_with_outputs(2, "Split", x, halves, axis=axis)
    return Value(graph.node("Mul", a, graph.node("Sigmoid", b)))


ALONG_CHANNELS: dict[str, Callable[[Graph, str, int, int], Value]] = {  # graph, x, axis, number of channels
    "softmax": _along("Softmax"),
    "log_softmax": _along("LogSoftmax"),
    "glu": _glu,
}
