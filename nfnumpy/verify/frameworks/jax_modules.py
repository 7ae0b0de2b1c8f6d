"""What Haiku, Flax and Equinox have in common: modules are functions of their arrays, which are kept outside."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from .base import Framework
from .jax import Jax
from .jax_calls import EVALUATION, TRAINING, required_names
from .jax_handle import Form, JaxHandle


@dataclasses.dataclass
class Unmade:
    """A module whose arrays are shapes so far, and how to make it: random weights would only be replaced."""

    module: Any
    make: Callable[[], Any]


class JaxModules(Jax):
    """Base of the three; a subclass says what a module is, and what its Form is."""

    has_modules = has_layers = True

    @property
    def without_modules(self) -> Framework:
        """JAX's optimizers are functions of trees of arrays, whatever library the network is written in."""
        framework = Jax()
        framework.name, framework.channels_first = self.name, self.channels_first
        return framework

    def form_of(self, target: Any) -> Form:
        """The Form of a module of this library."""
        raise NotImplementedError

    def module(self, target: Any, owned: bool = False) -> JaxHandle:
        return target if isinstance(target, JaxHandle) else JaxHandle(self, self.form_of(target))

    def further_arguments(self, target: Any) -> dict[str, Any]:
        """Flags for training that have no default: every call sets them."""
        return {name: False for name in required_names(target) if name in (*TRAINING, *EVALUATION)}

    def shapes_of_module(self, make: Callable[[], Any]) -> Any:
        """What make() returns, with shapes in the place of arrays."""
        raise NotImplementedError

    def _unmade(self, make):
        """An Unmade module; what is made, where that cannot be known without computing, or is no module."""
        try:
            module = self.shapes_of_module(make)
        except Exception:  # its constructor computes with its arrays, or is wrong
            return make()
        return Unmade(module, make) if self.is_module(module) else make()

    def unbound_call(self, made: Any) -> Callable:
        made = made.module if isinstance(made, Unmade) else made
        return (made[0] if isinstance(made, tuple) else made).__call__

    def in_dtype(self, target: Any, dtype: str) -> Any:
        return self.module(target) if self.is_module(target) else target

    @contextlib.contextmanager
    def computing_in(self, dtype: str) -> Iterator[None]:
        """Inside, functions are compiled fast."""
        with self.compiling_fast():
            yield
