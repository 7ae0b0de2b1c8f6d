"""What Keras has in common with all its backends, and with TensorFlow's modules: layers, their variables, their calls.

A layer makes its variables when it is first called, has images (N, H, W, C) and weights (kh, kw, in, out), and gets its
gradients from outside: optimizers take lists of them.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .base import Framework, Host
from .layer_handle import PLAIN_POLICIES, Derivatives, LayerHandle


class LayerFramework(Framework):
    """Base of TensorFlow and Keras; a subclass has `derivatives`."""

    has_modules = True
    has_layers = True
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
