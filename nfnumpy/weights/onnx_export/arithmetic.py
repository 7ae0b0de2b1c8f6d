"""The ONNX nodes of arithmetic, element by element, of sums and extremes over axes, of concatenation and frames.

emitter.py says what these functions take and return. Used by: normalization.py, model.py.
Test: reference_tests/weights/test_onnx_export.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import InputError
from ...functional.checks import axes_of
from .emitter import TO_NCHW, Emitter, Operation
from .graph import Value

AXES_AS_INPUTS_SINCE = 18  # opset in which the axes of ReduceMean, ReduceMax and ReduceMin became an input


def _operand(to: Emitter, value: Any, rank: int) -> str:
    """The name of one input of an operation that broadcasts, beside another one of `rank` axes."""
    if isinstance(value, Value):
        if (len(value.shape) == 4) != (rank == 4):
            raise InputError("export: an operation that repeats one axis for another of images has no ONNX form here")
        return to.graph.applied(value)
    if not hasattr(value, "shape"):
        return to.graph.number(float(value))
    array, name = to.constant(value, "constant")
    if rank == 4:
        array = np.transpose(np.reshape(array, (1,) * (4 - array.ndim) + array.shape), TO_NCHW)
    return to.graph.constant(array, name)


def _binary(operator: str) -> Operation:
    def emit(to: Emitter, x: Any, y: Any) -> Value:
        rank = max(len(getattr(value, "shape", ())) for value in (x, y))
        return to.node(operator, _operand(to, x, rank), _operand(to, y, rank))
    return emit


def _unary(operator: str) -> Operation:
    return lambda to, x: to.node(operator, to.graph.applied(x))


def _clip(to: Emitter, x: Value, *, low: float | None, high: float | None) -> Value:
    bounds = ["" if bound is None else to.graph.number(bound) for bound in (low, high)]
    return to.node("Clip", to.graph.applied(x), *bounds)


def _power(to: Emitter, x: Value, *, exponent: float) -> Value:
    return to.node("Pow", to.graph.applied(x), to.graph.number(exponent))


def _concatenate(to: Emitter, *values: Any, axis: int = 0) -> Value:
    rank = len(values[0].shape)
    place, = axes_of(axis, rank)
    return to.node("Concat", *(_operand(to, value, rank) for value in values),
                   axis=TO_NCHW.index(place) if rank == 4 else place)


def _pad(to: Emitter, x: Value, *, widths: Any, value: float = 0.0) -> Value:
    axes = TO_NCHW if len(x.shape) == 4 else range(len(x.shape))
    before, after = ([int(widths[axis][end]) for axis in axes] for end in (0, 1))
    return to.node("Pad", to.graph.applied(x), to.graph.integers(*before, *after), to.graph.number(value))


def _reduction(operator: str) -> Operation:
    def emit(to: Emitter, x: Value, *, axis: Any = None, keepdims: bool = False) -> Value:
        rank = len(x.shape)
        axes = sorted(axes_of(axis, rank))
        if rank == 4 and not keepdims and 3 not in axes and not {1, 2} <= set(axes):
            raise InputError(f"export: {operator} over one of height and width has no ONNX form here")
        places = [TO_NCHW.index(place) if rank == 4 else place for place in axes]
        return reduced(to, operator, to.graph.applied(x), places, keepdims)
    return emit


def reduced(to: Emitter, operator: str, x: str, axes: Sequence[int], keepdims: bool) -> Value:
    """The node of a reduction over these axes of the graph."""
    if operator == "ReduceSum" or to.graph.opset >= AXES_AS_INPUTS_SINCE:
        return to.node(operator, x, to.graph.integers(*axes), keepdims=int(keepdims))
    return to.node(operator, x, axes=list(axes), keepdims=int(keepdims))


ARITHMETIC: dict[str, Operation] = {
    "add": _binary("Add"),
    "subtract": _binary("Sub"),
    "multiply": _binary("Mul"),
    "divide": _binary("Div"),
    "maximum": _binary("Max"),
    "minimum": _binary("Min"),
    "negative": _unary("Neg"),
    "exp": _unary("Exp"),
    "log": _unary("Log"),
    "sqrt": _unary("Sqrt"),
    "absolute": _unary("Abs"),
    "erf": _unary("Erf"),
    "clip": _clip,
    "power": _power,
    "concatenate": _concatenate,
    "pad": _pad,
    "sum": _reduction("ReduceSum"),
    "mean": _reduction("ReduceMean"),
    "max": _reduction("ReduceMax"),
    "min": _reduction("ReduceMin"),
}
