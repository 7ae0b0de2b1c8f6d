"""Keras 3 on any of its backends: the backend's arrays and derivatives, Keras's layers."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from ...errors import InputError
from .base import Cotangent, Framework, Host
from .jax import Jax
from .layer_derivatives import OfJax, OfTorch
from .layers import LayerFramework
from .tape import Tape
from .tensorflow import TensorFlow
from .torch import Torch

BACKENDS: dict[str, type[Framework]] = {"tensorflow": TensorFlow, "torch": Torch, "jax": Jax}


class Keras(LayerFramework):
    """Keras; KERAS_BACKEND says what is below it."""

    name = "keras"
    packages = ("keras", "tf_keras")

    def __init__(self):
        super().__init__()
        backend = self.keras.config.backend()
        if backend not in BACKENDS:
            raise InputError(f"keras: KERAS_BACKEND={backend}: expected one of {', '.join(BACKENDS)}")
        self.below = BACKENDS[backend]()
        self.seen = self.below.seen
        if isinstance(self.below, TensorFlow):
            self.derivatives = Tape(self.below.tensorflow)
        elif isinstance(self.below, Torch):
            self.derivatives = OfTorch(self.below.torch)
        elif isinstance(self.below, Jax):
            self.derivatives = OfJax(self.below.jax, self.keras)

    def array(self, host: Host, precision: str | None = None) -> Any:
        return self.below.array(host, precision)

    def host(self, array: Any) -> Host:
        if not isinstance(self.below, TensorFlow):
            self.seen.add("float32")  # there keras.ops computes means in float32, whatever it is given
        return self.below.host(array.value if isinstance(array, self.keras.Variable) else array)

    def first_input(self, x: Host) -> Any:
        """With JAX a symbolic tensor, with which nothing has to be compiled."""
        if isinstance(self.derivatives, OfJax):
            return self.keras.KerasTensor(x.shape, str(x.dtype))
        return super().first_input(x)

    def value_and_vjp(self, function: Callable, arrays: Sequence[Any],
                      cotangent: Cotangent) -> tuple[Host, list[Host | None] | None]:
        return self.below.value_and_vjp(function, arrays, cotangent)

    def rng(self, seed: int) -> Any:
        return self.keras.random.SeedGenerator(seed)

    def running_eagerly(self) -> contextlib.AbstractContextManager[None]:
        if isinstance(self.below, Jax):
            return self.below.compiling_fast()
        return self.below.running_eagerly() if isinstance(self.below, TensorFlow) else super().running_eagerly()

    def is_variable(self, value: Any) -> bool:
        return super().is_variable(value) or (isinstance(self.below, TensorFlow) and self.below.is_variable(value))

    def is_module(self, target: Any) -> bool:
        return super().is_module(target) or (isinstance(self.below, TensorFlow) and self.below.is_module(target))
