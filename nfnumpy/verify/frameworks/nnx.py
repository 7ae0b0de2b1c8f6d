"""Flax's nnx modules as functions of their variables."""

import contextlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from .jax_calls import KEYS, attribute_at, flags, in_training, names_of
from .jax_handle import Form, Watch
from .layer_observation import calling, keeping


class NnxForm(Form):
    """By split and merge; what is no nnx.Param is a buffer, but for random numbers, which begin anew in every call."""

    is_started = True

    def __init__(self, nnx: Any, jax: Any, module: Any, make: Callable[[], Any] | None = None):
        self.nnx, self.jax, self.make = nnx, jax, make
        self.definition, parameters, self.randomness, others = nnx.split(module, nnx.Param, nnx.RngState, ...)
        self.parameters, self.buffers = (self._named(state) for state in (parameters, others))
        self.states = parameters, others
        self.found = [stride for _, each in nnx.iter_graph(module)
                      if (stride := getattr(each, "strides", getattr(each, "stride", None))) is not None]

    def _named(self, state):
        return {".".join(map(str, path)): _value(leaf) for path, leaf in self.nnx.to_flat_state(state)}

    def initial(self, names: set[str]) -> dict[str, Any]:
        def arrays():
            found = {**self.parameters, **self.buffers}
            if self.make:
                _, parameters, _, others = self.nnx.split(self.make(), self.nnx.Param, self.nnx.RngState, ...)
                found = {**self._named(parameters), **self._named(others)}
            return {name: array for name, array in found.items() if name in names}

        return self.jax.jit(arrays)() if self.make else arrays()

    def run(self, arrays: Mapping[str, Any], x: Any, key: Any, training: bool | str, options: Mapping[str, Any],
            watch: Watch) -> tuple[Any, dict[str, Any]]:
        nnx = self.nnx
        states = [self._filled(state, arrays) for state in self.states]
        module = nnx.merge(self.definition, states[0], self._seeded(key), states[1])
        (module.train if training is True else module.eval)()
        names = names_of(module.__call__)
        given = {name: nnx.Rngs(key) if name == "rngs" else key for name in names if name in KEYS}
        with contextlib.ExitStack() as stack:
            for each in self._with_statistics(module) if training == "statistics" else ():
                each.train()
                stack.enter_context(calling(each, _in_training(each), by_call=False))
            for path, part in watch.parts.items():
                stack.enter_context(calling(attribute_at(module, path), keeping(part, watch.seen), by_call=False))
            output = module(x, **{**flags(names, training is True), **given, **options})
        _, parameters, _, others = nnx.split(module, nnx.Param, nnx.RngState, ...)
        return output, {**self._named(parameters), **self._named(others)}

    def _with_statistics(self, module):
        """The modules inside that have running statistics of their own."""
        for _, each in self.nnx.iter_graph(module):
            if isinstance(each, self.nnx.Module) and any(isinstance(value, self.nnx.BatchStat)
                                                         for value in vars(each).values()):
                yield each

    def _filled(self, state, arrays):
        flat = [(path, _replaced(leaf, arrays[".".join(map(str, path))]))
                for path, leaf in self.nnx.to_flat_state(state)]
        return self.nnx.from_flat_state(flat)

    def _seeded(self, key):
        """The state of random numbers, as if they were made from this key."""
        flat = []
        for number, (path, leaf) in enumerate(self.nnx.to_flat_state(self.randomness)):
            is_key = isinstance(leaf, self.nnx.RngKey)
            array = self.jax.random.wrap_key_data(self.jax.random.fold_in(key, number)) if is_key else (
                self.jax.numpy.zeros((), _value(leaf).dtype))
            flat.append((path, _replaced(leaf, array)))
        return self.nnx.from_flat_state(flat)

    @property
    def strides(self) -> list[Any]:
        return self.found


def _value(leaf: Any) -> Any:
    """The array of a variable, or an array that an attribute holds without one."""
    return leaf.get_value() if hasattr(leaf, "get_value") else leaf


def _replaced(leaf: Any, array: Any) -> Any:
    return leaf.replace(array) if hasattr(leaf, "get_value") else array


def _in_training(module: Any) -> Callable[[Callable], Callable]:
    """For `calling`: the call of a module with its flags as in training."""
    signature = inspect.signature(module.__call__)
    return lambda call: in_training(call, signature)
