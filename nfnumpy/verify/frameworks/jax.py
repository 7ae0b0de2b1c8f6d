"""JAX's arrays, with float64 switched on, and optax's transformations."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .base import Cotangent, Framework, Host, expect_array


class Jax(Framework):
    """JAX, for optax too; jax_modules.py has what Haiku, Flax and Equinox add."""

    name = "jax"
    packages: tuple[str, ...] = ("optax", "jax")
    has_transformations = True

    def __init__(self):
        super().__init__()
        import jax
        jax.config.update("jax_enable_x64", True)
        self.jax = jax
        self._known_options: dict[str, Any] | None = None

    def array(self, host: Host, precision: str | None = None) -> Any:
        array = self.jax.numpy.asarray(host)
        return array.astype(precision) if precision and np.asarray(host).dtype.kind == "f" else array

    def host(self, array: Any) -> Host:
        array = self.jax.numpy.asarray(expect_array(array))
        self.seen.add(str(array.dtype))
        return np.asarray(array.astype("float32") if str(array.dtype) == "bfloat16" else array)

    def value_and_vjp(self, function: Callable, arrays: Sequence[Any],
                      cotangent: Cotangent) -> tuple[Host, list[Host | None] | None]:
        value, vjp = self.jax.vjp(function, *arrays)
        if cotangent is None:
            return self.host(value), None
        cotangent = cotangent(self.host(value)) if callable(cotangent) else cotangent
        given = self.jax.numpy.asarray(np.broadcast_to(cotangent, value.shape)).astype(value.dtype)
        return self.host(value), [self.host(grad) for grad in vjp(given)]

    def compiled(self, function: Callable) -> Callable:
        """The function by jax.jit, compiled in half of the usual time where this XLA knows how."""
        return self.jax.jit(function, compiler_options=self._options())

    def _options(self):
        if self._known_options is None:
            self._known_options = {"xla_cpu_use_fusion_emitters": False}
            try:
                self.jax.jit(lambda: 0, compiler_options=self._known_options)()
            except Exception:  # an older or a newer XLA
                self._known_options = {}
        return self._known_options

    @contextlib.contextmanager
    def compiling_fast(self) -> Iterator[None]:
        """Inside, XLA compiles without optimizations: every input case is compiled by itself, and runs once."""
        before = self.jax.config.read("jax_disable_most_optimizations")
        self.jax.config.update("jax_disable_most_optimizations", True)
        try:
            yield
        finally:
            self.jax.config.update("jax_disable_most_optimizations", before)

    def rng(self, seed: int) -> Any:
        return self.jax.random.PRNGKey(seed)

    def shapes_of(self, function: Callable) -> Any:
        """The result of a function as shapes and dtypes; nothing is computed."""
        return self.jax.eval_shape(function)

    def zeros(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        """An array of zeros."""
        return self.jax.numpy.zeros(shape, dtype)

    def gradient(self, loss: Callable, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.jax.grad(loss)(parameters)

    def softplus_loss(self, mixing: Any, offset: Any, weights: Sequence[Any]) -> Any:
        """Σ log(1 + exp(M·w - t)) + (w·w)²/4, with w all weights as one vector."""
        flat = self.jax.numpy.concatenate([weight.reshape(-1) for weight in weights])
        return self.jax.nn.softplus(mixing @ flat - offset).sum() + 0.25 * (flat @ flat) ** 2

    def sgd_transformation(self, **settings: Any) -> Any:
        """SGD as a transformation."""
        import optax
        return optax.sgd(settings.pop("lr"), **settings)

    def normalized_transformation(self, length: float) -> Any:
        """Updates of a given length against the gradient."""
        import optax
        return optax.chain(optax.contrib.normalize(), optax.sgd(length))

    def apply_updates(self, parameters: Any, updates: Any) -> Any:
        """The parameters plus the updates."""
        import optax
        return optax.apply_updates(parameters, updates)
