"""TensorFlow's tensors and modules; Keras's layers too, as they come with it."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .base import Cotangent, Host, expect_array
from .layers import LayerFramework
from .tape import Tape, tensors_gradients


class TensorFlow(LayerFramework):
    """TensorFlow: plain functions, tf.Module, tf.keras."""

    name = "tensorflow"
    packages = ("tensorflow",)

    def __init__(self):
        import tensorflow
        super().__init__()
        self.tensorflow, self.derivatives = tensorflow, Tape(tensorflow)

    def array(self, host: Host, precision: str | None = None) -> Any:
        host = np.asarray(host)
        return self.tensorflow.constant(host.astype(precision) if precision and host.dtype.kind == "f" else host)

    def host(self, array: Any) -> Host:
        """bfloat16 as float32."""
        array = expect_array(array)
        found = np.asarray(array.numpy() if hasattr(array, "numpy") else array)
        self.seen.add(str(found.dtype))
        return found.astype(np.float32) if str(found.dtype) == "bfloat16" else found

    def value_and_vjp(self, function: Callable, arrays: Sequence[Any],
                      cotangent: Cotangent) -> tuple[Host, list[Host | None] | None]:
        if cotangent is None:
            return self.host(function(*arrays)), None
        with self.tensorflow.GradientTape() as tape:
            tape.watch([array for array in arrays if array.dtype.is_floating])
            value = function(*arrays)
        host = self.host(value)
        given = cotangent(host) if callable(cotangent) else np.broadcast_to(cotangent, host.shape)
        grads = tensors_gradients(self.tensorflow, tape, value, list(arrays), given)
        return host, [None if grad is None else self.host(grad) for grad in grads]

    def rng(self, seed: int) -> Any:
        return self.tensorflow.random.Generator.from_seed(seed)

    @contextlib.contextmanager
    def running_eagerly(self) -> Iterator[None]:
        config = self.tensorflow.config
        before = config.functions_run_eagerly()
        config.run_functions_eagerly(True)
        try:
            yield
        finally:
            config.run_functions_eagerly(before)

    def parameter(self, value: Any, gradient: Any = None) -> Any:
        """A variable of TensorFlow's own."""
        return self.tensorflow.Variable(value)

    def own(self, variable: Any) -> Any:
        return variable.value

    def is_variable(self, value: Any) -> bool:
        return isinstance(value, self.tensorflow.Variable) or super().is_variable(value)

    def is_module(self, target: Any) -> bool:
        return isinstance(target, self.tensorflow.Module) or super().is_module(target)
