"""Networks of Keras's that hold given weights and compute a given function of them, for what trains networks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np


class Weights:
    """Weights in layers of a network: arrays {path: array}, "layer.leaf", in the order of their layers.

    owner: the network or layer that gets a layer for each; value(variables): what it computes of them, a scalar.
    """

    def __init__(self, keras: Any, owner: Any, arrays: Mapping[str, np.ndarray], value: Callable[[list[Any]], Any]):
        self.keras, self.value = keras, value
        self.variables: dict[str, Any] = {}
        layers: dict[str, Any] = {}
        for path, array in arrays.items():
            place, _, leaf = path.rpartition(".")
            if place not in layers:
                layers[place] = keras.layers.Layer(name=place or "weights", dtype=str(array.dtype))
                layers[place].built = True
            self.variables[path] = layers[place].add_weight(
                name=leaf, shape=array.shape, dtype=str(array.dtype), initializer=lambda *given, array=array, **options:
                keras.ops.convert_to_tensor(array))
        owner.layers_of_weights = list(layers.values())

    def __call__(self, x: Any) -> Any:
        """The value for images x, as (N, 1)."""
        total = self.keras.ops.reshape(self.value(list(self.variables.values())), (1, 1))
        return total + 0.0 * self.keras.ops.cast(self.keras.ops.reshape(x, (-1, 1))[:1], total.dtype)


def network_of(keras: Any, arrays: Mapping[str, np.ndarray], value: Callable[[list[Any]], Any],
               base: type | None = None, **settings: Any) -> tuple[Any, Weights]:
    """(a network, its Weights); base: a class of networks that it is derived from, and settings for that class."""
    def call(self, inputs, training=None):
        return self.weights_called(inputs)

    derived = type("Network", (base or keras.Model,), {"call": call})
    network = derived(**settings)
    weights = Weights(keras, network, arrays, value)
    object.__setattr__(network, "weights_called", weights)
    network.built = True
    return network, weights


def scalar_product(keras: Any, arrays: Sequence[np.ndarray | None]) -> Callable[[list[Any]], Any]:
    """The function of variables whose gradients are these arrays; it does not depend on those with None."""
    def value(variables):
        ops = keras.ops
        return sum(ops.sum(ops.convert_to_tensor(variable) * ops.convert_to_tensor(array))
                   for variable, array in zip(variables, arrays, strict=True) if array is not None)
    return value


def exact_sgd(keras: Any) -> type:
    """A class of Keras's SGD whose momentum stays in float64: Keras's own takes it through float32."""
    class SGD(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            change = -keras.ops.cast(learning_rate, variable.dtype) * keras.ops.cast(gradient, variable.dtype)
            if self.momentum:
                buffer = self.momentums[self._get_variable_index(variable)]
                velocity = buffer * self.momentum + change
                self.assign(buffer, velocity)
                change = velocity * self.momentum + change if self.nesterov else velocity
            self.assign_add(variable, change)

    return SGD
