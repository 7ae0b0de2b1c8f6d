"""Flax's linen modules as functions of their variables."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from .jax_calls import KEYS, flags, in_training, leaves_of, names_of, nested
from .jax_handle import Form, Watch
from .layer_observation import keeping

PARAMETERS = "params"


class LinenForm(Form):
    """By init and apply; variables outside of "params", such as "batch_stats", are buffers."""

    def __init__(self, linen: Any, jax: Any, module: Any):
        self.linen, self.jax, self.module = linen, jax, module
        self.found: list[Any] = []  # strides

    def _for(self, training):
        """The module, whose fields may say whether it is in training; of those that a call takes too, the call does."""
        called = names_of(self.module.__call__)
        found = flags(_fields(self.module), training is True)
        found = {name: None if name in called else value for name, value in found.items()}
        return self.module.clone(**found) if found else self.module

    def _options(self, training, key, options):
        names = names_of(self.module.__call__)
        return {**flags(names, training is True), **{name: key for name in names if name in KEYS}, **options}

    def _init(self, key, x):
        keys = {"params": key, "dropout": self.jax.random.fold_in(key, 1)}
        return self._for(True).init(keys, x, **self._options(True, key, {}))

    def start(self, x: Any) -> None:
        order: list[tuple[str, ...]] = []

        def init(key, x):
            with self.linen.intercept_methods(self._note):
                variables = self._init(key, x)
            order.extend(path for path, _ in leaves_of(variables))
            return variables

        self.x = x
        shapes = dict(leaves_of(self.jax.eval_shape(init, self.jax.random.PRNGKey(0), x)))
        self.paths = {".".join(path[1:]): path for path in order}
        named = {name: shapes[path] for name, path in self.paths.items()}
        self.parameters = {name: shape for name, shape in named.items() if self.paths[name][0] == PARAMETERS}
        self.buffers = {name: shape for name, shape in named.items() if name not in self.parameters}

    def _note(self, call, arguments, options, context):
        self.found.append(getattr(context.module, "strides", getattr(context.module, "stride", None)))
        return call(*arguments, **options)

    def initial(self, names: set[str]) -> dict[str, Any]:
        def init(key, x):
            found = dict(leaves_of(self._init(key, x)))
            return {name: found[self.paths[name]] for name in names}

        return self.jax.jit(init)(self.jax.random.PRNGKey(0), self.jax.numpy.zeros(self.x.shape, self.x.dtype))

    def run(self, arrays: Mapping[str, Any], x: Any, key: Any, training: bool | str, options: Mapping[str, Any],
            watch: Watch) -> tuple[Any, dict[str, Any]]:
        variables = nested({path: arrays[name] for name, path in self.paths.items()})
        collections = [name for name in variables if name != PARAMETERS]

        def intercept(call, arguments, further, context):
            return self._intercepted(call, arguments, further, context, watch, training, collections)

        keys = {"params": key, "dropout": self.jax.random.fold_in(key, 1)}
        with self.linen.intercept_methods(intercept):
            output, after = self._for(training).apply(variables, x, rngs=keys, mutable=collections,
                                                      **self._options(training, key, options))
        names = {path: name for name, path in self.paths.items()}
        return output, {names[path]: leaf for path, leaf in leaves_of(after)}

    def _intercepted(self, call, arguments, further, context, watch, training, collections):
        """Keep what is to be seen, and let modules with running statistics be in training."""
        module, path = context.module, ".".join(context.module.path)
        if context.method_name != "__call__":
            return call(*arguments, **further)
        if training == "statistics" and any(module.variables.get(name) and self._is_own(module, name)
                                            for name in collections):
            names = names_of(module.__call__)
            for name, value in flags(_fields(module), True).items():  # Flax refuses a flag that is given twice
                object.__setattr__(module, name, None if name in names else value)
            call = in_training(call, inspect.signature(module.__call__))
        if path in watch.parts:
            call = keeping(watch.parts[path], watch.seen)(call)
        return call(*arguments, **further)

    def _is_own(self, module, collection):
        """Whether a module itself has variables there, and not those inside it alone."""
        return any(not hasattr(value, "items") for value in module.variables[collection].values())

    @property
    def strides(self) -> list[Any]:
        return self.found


def _fields(module: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(module)}
