"""A graph of ONNX nodes under construction, and the values in it.

Used by: emitter.py, layers.py, normalization.py, arithmetic.py, activations.py, model.py.
Test: reference_tests/weights/test_onnx_export.py.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class GraphNode(NamedTuple):
    """An ONNX node: its operator, the names of its inputs and its outputs, its attributes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Value:
    """An array of the network as the graph has it: the value `name`, times `scale`, times the value `gate`.

    The factors are applied by the next operation, which takes them into its constants where it is linear. gate: the
    name of a value (N, C, 1, 1), or None. shape: as nfnumpy has it; images (N, H, W, C) are (N, C, H, W) in the graph.
    uses: how many inputs of operations the array is.
    """

    name: str
    shape: tuple[int, ...] = ()
    scale: float = 1.0
    gate: str | None = None
    uses: int = 0


class Graph:
    """Nodes in an order in which they can run, and named float32 constants, for the operators of version `opset`."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[GraphNode] = []
        self.constants: dict[str, np.ndarray] = {}
        self._names: set[str] = set()
        self._numbers: dict[tuple[str, bytes], str] = {}
        self._convolutions: dict[str, tuple[str, ...]] = {}  # output -> the constants that it is linear in
        self._applied: dict[tuple[str, float, str | None], str] = {}

    def unique(self, name: str) -> str:
        """`name`, followed by a number where it is in use."""
        found, number = name, 1
        while found in self._names:
            number += 1
            found = f"{name}_{number}"
        self._names.add(found)
        return found

    def node(self, operator: str, *inputs: str, label: str | None = None, **attributes: Any) -> str:
        """Add a node with one output, whose name, derived from `label` or the operator, is returned."""
        return self.node_with_outputs(1, operator, *inputs, label=label, **attributes)[0]

    def node_with_outputs(self, count: int, operator: str, *inputs: str, label: str | None = None,
                          **attributes: Any) -> tuple[str, ...]:
        """Add a node with `count` outputs; returns their names."""
        outputs = tuple(self.unique(label or operator) for _ in range(count))
        self.nodes.append(GraphNode(operator, inputs, outputs, attributes))
        return outputs

    def rename_output(self, name: str, new: str) -> None:
        """Call the value `name` `new`, which is the name of an output of the graph."""
        for position, node in enumerate(self.nodes):
            outputs, inputs = (tuple(new if one == name else one for one in names)
                               for names in (node.outputs, node.inputs))
            self.nodes[position] = node._replace(inputs=inputs, outputs=outputs)

    def constant(self, array: Any, name: str) -> str:
        """Add a constant, rounded to float32 if it is of a wider dtype; returns its name, derived from `name`."""
        name = self.unique(name)
        self.constants[name] = np.asarray(array, dtype=np.float32)
        return name

    def number(self, value: float) -> str:
        """The name of a constant () with this value; one for equal values."""
        return self._shared("number", np.float32(value))

    def integers(self, *values: int) -> str:
        """The name of a constant of whole numbers, such as axes; one for equal values."""
        return self._shared("integers", np.array(values, dtype=np.int64))

    def _shared(self, name: str, value: Any) -> str:
        key = (name, value.tobytes())
        if key not in self._numbers:
            self._numbers[key] = self.unique(name)
            self.constants[self._numbers[key]] = np.asarray(value)
        return self._numbers[key]

    def applied(self, value: Value) -> str:
        """The name of `value` with its factors applied, which takes a product where there are any."""
        key = (value.name, value.scale, value.gate)
        if key not in self._applied:
            self._applied[key] = self._product(value)
        return self._applied[key]

    def _product(self, value: Value) -> str:
        if value.gate is not None:  # the gate has one number a channel: it takes the scale
            gate = self.applied(Value(value.gate, scale=value.scale))
            return self.node("Mul", value.name, gate)
        if value.scale == 1.0:
            return value.name
        return self.node("Mul", value.name, self.number(value.scale))

    def ungated(self, value: Value) -> Value:
        """`value` with no factor left but its scale."""
        return value if value.gate is None else dataclasses.replace(value, name=self.applied(value), scale=1.0,
                                                                    gate=None)

    def register_convolution(self, output: str, *constants: str) -> None:
        """Remember that the value `output` is linear in these constants together."""
        self._convolutions[output] = constants

    def scaled_at_its_source(self, value: Value) -> Value:
        """`value` without its scale, if that can go into the constants of the convolution that made it."""
        if value.gate is None and value.uses == 1 and value.name in self._convolutions:
            for name in self._convolutions.pop(value.name):
                self.constants[name] = scaled(self.constants[name], value.scale)
            return dataclasses.replace(value, scale=1.0)
        return value


def scaled(array: np.ndarray, factor: float) -> np.ndarray:
    """array · factor, computed in float64 and rounded once to the array's dtype."""
    return array if factor == 1.0 else (array.astype(np.float64) * factor).astype(array.dtype)
