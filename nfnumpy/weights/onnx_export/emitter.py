"""What the functions that add an operation's nodes share: the graph, and the constants of the network.

Such a function takes the Emitter and the inputs of the operation: a Value where an input depends on the images, else
the array or number itself. It returns the Value of the result.
Used by: layers.py, normalization.py, arithmetic.py, model.py. Test: reference_tests/weights/test_onnx_export.py.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import InputError
from .graph import Graph, Value
from .trace import OUTSIDE

Operation = Callable[..., Value]
TO_NCHW = (0, 3, 1, 2)


class Emitter:
    """Adds nodes to `graph`; names: id of a constant array -> what to call it."""

    def __init__(self, graph: Graph, names: dict[int, str]) -> None:
        self.graph = graph
        self.names = names

    def constant(self, array: Any, operation: str) -> tuple[np.ndarray, str]:
        """(array, its name); InputError where the input depends on the images, as no weight does."""
        if isinstance(array, Value):
            raise InputError(f"export: {operation} with weights that depend on the images has no ONNX form here")
        if 0 in np.shape(array):  # the empty batch of the trace
            raise InputError(f"export: {OUTSIDE}")
        return np.asarray(array), self.names.get(id(array), operation)

    def node(self, operator: str, *inputs: str, **attributes: Any) -> Value:
        """The Value of a new node."""
        return Value(self.graph.node(operator, *inputs, **attributes))
