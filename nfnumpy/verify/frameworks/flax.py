"""Flax: linen modules and nnx modules, and functions that call linen modules."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from .jax_calls import all_names
from .jax_handle import Form
from .jax_modules import JaxModules, Unmade
from .linen import LinenForm
from .nnx import NnxForm


class Flax(JaxModules):
    """Flax, by both of its interfaces."""

    name = "flax"
    packages = ("flax",)

    def __init__(self):
        super().__init__()
        import flax.linen
        import flax.nnx
        self.linen, self.nnx = flax.linen, flax.nnx

    def is_module(self, target: Any) -> bool:
        return isinstance(target, (self.linen.Module, self.nnx.Module, Unmade))

    def form_of(self, target: Any) -> Form:
        if isinstance(target, self.linen.Module):
            return LinenForm(self.linen, self.jax, target)
        if isinstance(target, Unmade):
            return NnxForm(self.nnx, self.jax, target.module, target.make)
        return NnxForm(self.nnx, self.jax, target)

    def made(self, target: Callable, *arguments: Any, **options: Any) -> Any:
        """What a class or factory makes; an nnx module only once its arrays are needed."""
        def make():
            own = {name: self.nnx.Rngs(0) if isinstance(value, self.nnx.Rngs) else value
                   for name, value in options.items()}
            return target(*arguments, **own)

        if not any(isinstance(value, self.nnx.Rngs) for value in options.values()):
            return make()
        return self._unmade(make)

    def shapes_of_module(self, make: Callable[[], Any]) -> Any:
        module = self.nnx.eval_shape(make)
        for _, node in self.nnx.iter_graph(module):
            if any(isinstance(value, self.jax.core.Tracer) for value in getattr(node, "__dict__", {}).values()):
                raise TypeError("an array that is no variable")
        return module

    def kernel_sizes(self, parameter: Any, size: int) -> tuple[Any, ...]:
        """Of Flax's own convolutions, one of size 3 is of one dimension."""
        is_number = isinstance(parameter.default, int) or parameter.annotation in (int, "int")
        return (size, (size, size)) if is_number else ((size, size), size)

    def further_arguments(self, target: Any) -> dict[str, Any]:
        found = {"rngs": self.nnx.Rngs(0)} if "rngs" in all_names(target) else {}
        return {**super().further_arguments(target), **found}

    def built(self, function: Callable[..., Any], shape: Sequence[int | None] = ()) -> Any:
        """A linen module whose call is this function; modules that the function makes belong to it."""
        @functools.wraps(function)
        def call(self, x, **options):
            return function(x, **options)

        return type("Function", (self.linen.Module,), {"__call__": self.linen.compact(call)})()
