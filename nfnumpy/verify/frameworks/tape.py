"""Derivatives of Keras's layers and TensorFlow's modules by TensorFlow's tape."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .base import Host

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput")  # the last one is a transposed one


class Tape:
    """What a LayerHandle needs of TensorFlow; `layer_derivatives.py` has the same for PyTorch and JAX."""

    def __init__(self, tensorflow: Any) -> None:
        self.tensorflow = tensorflow
        _differentiate_grouped_convolutions(tensorflow)

    def run(self, call: Callable[[Any], tuple[Any, dict]], x: Host, parameters: Sequence[Any], buffers: Sequence[Any],
            with_gradients: bool) -> tuple[Any, dict]:
        """call(x) for a host array, remembered for `gradients`."""
        self.x, self.parameters = self.tensorflow.constant(x), [self._value(variable) for variable in parameters]
        if not with_gradients:
            return call(self.x)
        with self.tensorflow.GradientTape(persistent=True) as self.tape:
            self.tape.watch([self.x, *self.parameters])
            return call(self.x)

    def gradients(self, output: Any, cotangent: Host) -> list[Any | None]:
        """By x and by all parameters, of the last run; None where there is none."""
        return tensors_gradients(self.tensorflow, self.tape, output, [self.x, *self.parameters], cotangent)

    def _value(self, variable):
        """The tf.Variable inside a variable of Keras's."""
        return variable if isinstance(variable, self.tensorflow.Variable) else variable.value

    @contextlib.contextmanager
    def watched_convolutions(self) -> Iterator[list[Any]]:
        """The weights of the convolutions that are called inside, in order."""
        from tensorflow.python.framework import op_callbacks
        weights: list[Any] = []

        def keep(op_type, inputs, attrs, outputs, op_name=None, graph=None):
            name = op_type.decode() if isinstance(op_type, bytes) else op_type
            if name in CONVOLUTIONS and not self.tensorflow.is_symbolic_tensor(inputs[1]):
                weights.append(inputs[1])

        op_callbacks.add_op_callback(keep)
        try:
            yield weights
        finally:
            op_callbacks.remove_op_callback(keep)


def tensors_gradients(tensorflow: Any, tape: Any, value: Any, leaves: Sequence[Any],
                      cotangent: Host) -> list[Any | None]:
    """The vector-Jacobian products of a tensor, None for leaves that it does not depend on."""
    if not hasattr(value, "dtype") or not tensorflow.is_tensor(value):
        return [None] * len(leaves)
    given = tensorflow.constant(np.ascontiguousarray(cotangent), value.dtype)
    grads = tape.gradient(value, list(leaves), output_gradients=given)
    return [None if grad is None else tensorflow.convert_to_tensor(grad) for grad in grads]


def _differentiate_grouped_convolutions(tensorflow: Any) -> None:
    """On a processor TensorFlow has no gradient of grouped convolutions: from here on it has one, group by group."""
    from tensorflow.python.framework import ops
    registry = ops.gradient_registry._registry
    original = registry["Conv2D"]["type"]
    if original.__module__ == __name__:
        return

    def gradient(op, grad):
        x, weight = op.inputs
        groups = x.shape[-1] // weight.shape[2]
        if groups == 1 or op.get_attr("data_format") != b"NHWC":
            return original(op, grad)
        options = {name: op.get_attr(name) for name in ("strides", "dilations", "explicit_paddings")}
        options["padding"] = op.get_attr("padding").decode()
        raw, shape, both = tensorflow.raw_ops, tensorflow.shape, []
        for image, kernel, part in zip(*(tensorflow.split(array, groups, -1) for array in (x, weight, grad)),
                                       strict=True):
            both.append((raw.Conv2DBackpropInput(input_sizes=shape(image), filter=kernel, out_backprop=part, **options),
                         raw.Conv2DBackpropFilter(input=image, filter_sizes=shape(kernel), out_backprop=part,
                                                  **options)))
        return tuple(tensorflow.concat(grads, -1) for grads in zip(*both, strict=True))

    registry["Conv2D"] = {**registry["Conv2D"], "type": gradient}
