"""What Keras has in common with all its backends, and with TensorFlow's modules: layers, their variables, their calls.

A layer makes its variables when it is first called, has images (N, H, W, C) and weights (kh, kw, in, out), and gets its
gradients from outside: optimizers take lists of them.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .base import Framework, Host
from .layer_handle import PLAIN_POLICIES, Derivatives, LayerHandle
from .layer_training import exact_sgd, network_of, scalar_product


class LayerFramework(Framework):
    """Base of TensorFlow and Keras; a subclass has `derivatives`."""

    has_modules = True
    has_layers = True
    rounds_constants = True  # tf.cast(0.9, x.dtype) is one
    derivatives: Derivatives

    def __init__(self):
        super().__init__()
        import keras
        self.keras = keras
        self._internal: frozenset[str] | None = None

    @property
    def internal(self) -> frozenset[str]:
        """The names of the attributes that every layer and every network has."""
        if self._internal is None:
            network = self.keras.Model()
            self._internal = frozenset(vars(network)) | frozenset(vars(self.keras.layers.Layer()))
        return self._internal

    def is_variable(self, value: Any) -> bool:
        """Whether a value is a variable of the framework's."""
        return isinstance(value, self.keras.Variable)

    def value_of(self, variable: Any) -> Host:
        """A copy of a variable's array; it does not count as a result."""
        is_of_keras = isinstance(variable, self.keras.Variable)
        return np.array(self.keras.ops.convert_to_numpy(variable.value) if is_of_keras else variable.numpy())

    def is_module(self, target: Any) -> bool:
        return isinstance(target, self.keras.layers.Layer)

    def module(self, target: Any, owned: bool = False) -> LayerHandle:
        return LayerHandle(self, target, owned)

    def in_dtype(self, target: Any, dtype: str) -> Any:
        if not self.is_module(target):
            return target
        handle = self.module(target)
        handle.to(dtype)
        return handle

    def unbound_call(self, made: Any) -> Callable:
        return made.call if isinstance(made, self.keras.layers.Layer) else made.__call__

    def first_input(self, x: Host) -> Any:
        """What a layer is called with to make its variables."""
        return self.array(x)

    def built(self, function: Callable[[Any], Any], shape: tuple[int, ...]) -> Any:
        x = self.keras.Input(shape)
        return self.keras.Model(x, function(x))

    # training

    def parameter(self, value: Any, gradient: Any = None) -> Any:
        """A variable; its gradient is kept elsewhere."""
        return self.keras.Variable(value)

    def own(self, variable: Any) -> Any:
        """A variable of Keras's as the framework's own."""
        return variable

    def assign(self, parameter: Any, value: Any) -> None:
        parameter.assign(value)

    def sgd(self, parameters: Sequence[Any], **settings: Any) -> Any:
        rate = settings.pop("lr")
        return exact_sgd(self.keras)(rate, **{name: value for name, value in settings.items() if value})

    def apply_gradients(self, optimizer: Any, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        """One step of an optimizer, or of what is called as one."""
        if hasattr(optimizer, "apply_gradients"):
            optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))
        else:
            optimizer.apply(list(gradients), list(variables))

    def softplus_loss(self, mixing: Any, offset: Any, weights: Sequence[Any]) -> Any:
        """Σ log(1 + exp(M·w - t)) + (w·w)²/4, with w all weights as one vector."""
        ops = self.keras.ops
        flat = ops.concatenate([ops.reshape(weight, (-1,)) for weight in weights])
        inner = ops.sum(mixing * flat, axis=1) - offset
        return ops.sum(ops.softplus(inner)) + 0.25 * ops.square(ops.sum(flat * flat))

    def network_of(self, arrays: Mapping[str, Host], value: Callable[[list[Any]], Any], base: type | None = None,
                   **settings: Any) -> tuple[Any, Any]:
        """(a network, its Weights): see layer_training.py."""
        return network_of(self.keras, arrays, value, base, **settings)

    def product_with(self, arrays: Sequence[Host | None]) -> Callable[[list[Any]], Any]:
        """The function of variables whose gradients are these arrays; it does not depend on those with None."""
        return scalar_product(self.keras, arrays)

    def gradients_of(self, function: Callable[[list[Any]], Any], variables: Sequence[Any]) -> list[Any]:
        """Of a function of variables, by each of them."""
        output, _ = self.derivatives.run(lambda x: (function(list(variables)), {}), np.zeros(1), variables, (), True)
        return self.derivatives.gradients(output, np.ones(()))[1:]

    @property
    def is_stateless(self) -> bool:
        """Whether a training step is a function of the values of all variables, as with JAX."""
        return self.keras.config.backend() == "jax"

    def train_step(self, network: Any, optimizer: Any) -> None:
        """One training step of a network, whose output is its loss, with an optimizer.

        With JAX a step takes and returns the values of all variables; here they are given and taken back.
        """
        network.compile(optimizer=optimizer, loss=lambda labels, output: self.keras.ops.sum(output))
        ones = self.array(np.ones((1, 1), self.keras.config.floatx()))
        if not self.is_stateless:
            network.train_step((ones, ones))
            return
        if not network.built:
            network(ones)
        if not optimizer.built:
            optimizer.build(network.trainable_variables)
        groups = (network.trainable_variables, network.non_trainable_variables, optimizer.variables,
                  network.metrics_variables)
        _, state = network.train_step(tuple([variable.value for variable in group] for group in groups), (ones, ones))
        for group, values in zip(groups, state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)

    def running_eagerly(self) -> contextlib.AbstractContextManager[None]:
        """Inside, nothing is compiled, or not optimized: every input case would be compiled by itself and run once."""
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def computing_in(self, dtype: str) -> Iterator[None]:
        """Layers and constants that are made inside have this dtype, unless they say another."""
        config = self.keras.config
        floatx, policy = config.floatx(), config.dtype_policy()
        config.set_floatx(dtype)
        if policy.name in PLAIN_POLICIES:
            config.set_dtype_policy(dtype)
        try:
            with self.running_eagerly():
                yield
        finally:
            config.set_floatx(floatx)
            config.set_dtype_policy(policy)
