"""Equinox: modules are trees of arrays that see one example (C, H, W); weights are OIHW and (out, in)."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .jax_calls import KEYS, all_names, attribute_at, flags, in_training, names_of
from .jax_handle import Form, Watch
from .jax_modules import JaxModules, Unmade
from .layer_observation import keeping

AXIS = "batch"


class Equinox(JaxModules):
    """Equinox. A module is mapped over the examples; one that takes a batch is given it."""

    name = "equinox"
    packages: tuple[str, ...] = ("equinox",)
    channels_first = True

    def __init__(self):
        super().__init__()
        import equinox
        self.equinox = equinox

    def is_module(self, target: Any) -> bool:
        """A module, or (module, state) as `make_with_state` returns them."""
        if isinstance(target, Unmade):
            return True
        if isinstance(target, tuple):
            return len(target) == 2 and isinstance(target[1], self.equinox.nn.State)
        return isinstance(target, _Function) or (isinstance(target, self.equinox.Module) and callable(target))

    def form_of(self, target: Any) -> Form:
        if isinstance(target, Unmade):
            module, state = target.module
            return EquinoxForm(self, module, state, lambda: self._with_state(target.make()))
        return EquinoxForm(self, *self._with_state(target))

    def _with_state(self, target):
        if isinstance(target, tuple):
            return target
        return target, self.equinox.nn.State(target)

    def made(self, target: Callable, *arguments: Any, **options: Any) -> Any:
        return self._unmade(lambda: target(*arguments, **options))

    def shapes_of_module(self, make: Callable[[], Any]) -> Any:
        """(module, state)."""
        return self.equinox.filter_eval_shape(lambda: self._with_state(make()))

    def built(self, function: Callable[..., Any], shape: Sequence[int | None] = ()) -> Any:
        """A function of one example as a module without arrays."""
        return _Function(function)

    def further_arguments(self, target: Any) -> dict[str, Any]:
        names = all_names(target)
        found = {name: self.jax.random.PRNGKey(0) for name in KEYS if name in names}
        found |= {"axis_name": AXIS} if "axis_name" in names else {}
        return {**super().further_arguments(target), **found}


class EquinoxForm(Form):
    """By the paths of its arrays. What its State holds are buffers, named after the index; of two arrays in one entry,
    the first is the mean and the second the variance.
    """

    is_started = True

    def __init__(self, framework: Equinox, module: Any, state: Any, make: Callable[[], Any] | None = None):
        self.equinox, self.tree, self.jax = framework.equinox, framework.jax.tree_util, framework.jax
        self.module, self.state, self.make = module, state, make
        leaves = self._leaves(module)
        self.parameters, self.buffers = self._arrays(module, state)
        self.axis = next((leaf for name, leaf in leaves.items() if name.endswith("axis_name")), AXIS)
        self.takes_a_batch: bool | None = None

    def _leaves(self, module):
        return {_name(self.tree, path): leaf for path, leaf in
                self.tree.tree_flatten_with_path(module, is_leaf=self._is_index)[0]}

    def _arrays(self, module, state):
        """(parameters, buffers), arrays or shapes."""
        leaves = self._leaves(module)
        parameters = {name: leaf for name, leaf in leaves.items() if not self._is_index(leaf)
                      and self.jax.numpy.issubdtype(getattr(leaf, "dtype", None) or "bool", self.jax.numpy.inexact)}
        held = [name for path, index in leaves.items() if self._is_index(index)
                for name in self._names(path, state.get(index))]
        return parameters, dict(zip(held, self.tree.tree_leaves(state), strict=True))

    def _is_index(self, value):
        return isinstance(value, self.equinox.nn.StateIndex)

    def _names(self, path, value):
        """The names of the arrays that an index holds."""
        count = len(self.tree.tree_leaves(value))
        ends = ("",) if count == 1 else ("_mean", "_variance") if count == 2 else tuple(map(str, range(count)))
        return [f"{path}{end}" for end in ends]

    def initial(self, names: set[str]) -> dict[str, Any]:
        def arrays():
            parameters, buffers = self._arrays(*self.make()) if self.make else (self.parameters, self.buffers)
            return {name: array for name, array in {**parameters, **buffers}.items() if name in names}

        return self.jax.jit(arrays)() if self.make else arrays()

    def completed(self, arrays: dict[str, Any], loaded: set[str]) -> dict[str, Any]:
        """Batches are counted from 0 again."""
        counters = [name for name, array in self.buffers.items() if not array.shape and name not in loaded]
        return {**arrays, **{name: np.zeros((), self.buffers[name].dtype) for name in counters}}

    def run(self, arrays: Mapping[str, Any], x: Any, key: Any, training: bool | str, options: Mapping[str, Any],
            watch: Watch) -> tuple[Any, dict[str, Any]]:
        def filled(path, leaf):
            return leaf if self._is_index(leaf) else arrays.get(_name(self.tree, path), leaf)

        module = self.tree.tree_map_with_path(filled, self.module, is_leaf=self._is_index)
        module = self._watched(self.equinox.nn.inference_mode(module, training is not True), training, watch)
        names = names_of(module)
        given = {**flags(names, training is True), **options}

        structure = self.tree.tree_structure(self.state)

        def one(x, key):
            watch.seen.clear()
            state = structure.unflatten([arrays[name] for name in self.buffers])
            further = {name: key for name in names if name in KEYS} | ({"state": state} if "state" in names else {})
            returned = module(x, **further, **given)
            output, after = returned if "state" in names else (returned, state)
            return output, self.tree.tree_leaves(after), dict(watch.seen)

        def mapped(x):
            keys = self.jax.random.split(key, len(x))
            return self.jax.vmap(one, out_axes=(0, None, 0), axis_name=self.axis)(x, keys)

        if self.takes_a_batch is None:
            self.takes_a_batch = self._raises(mapped, x) and not self._raises(lambda x: one(x, key), x)
        output, after, seen = one(x, key) if self.takes_a_batch else mapped(x)
        watch.seen.clear()
        watch.seen.update(seen)
        return output, dict(zip(self.buffers, after, strict=True))

    def _raises(self, function, x):
        try:
            self.jax.eval_shape(function, self.jax.ShapeDtypeStruct(x.shape, x.dtype))
        except Exception:
            return True
        return False

    def _watched(self, module, training, watch):
        """The module, with what is observed inside it and, for the moments of the batch, its averages in training."""
        changes = {path: keeping(part, watch.seen) for path, part in watch.parts.items()}
        for path in self._with_statistics() if training == "statistics" else ():
            part = self.equinox.nn.inference_mode(attribute_at(module, path), False)
            signature = inspect.signature(part.__call__)
            module = self._replaced(module, path, _Changed(part, in_training(part, signature)))
        for path, changed in changes.items():
            part = attribute_at(module, path)
            module = self._replaced(module, path, _Changed(part, changed(part)))
        return module

    def _with_statistics(self):
        """The paths of the modules that hold indices of the state."""
        return {name.rpartition(".")[0] for name, leaf in self._leaves(self.module).items() if self._is_index(leaf)}

    def _replaced(self, module, path, new):
        if not path:
            return new
        return self.equinox.tree_at(lambda root: attribute_at(root, path), module, new)

    @property
    def strides(self) -> list[Any]:
        owners = {name.rpartition(".")[0] for name in self.parameters}
        return [getattr(attribute_at(self.module, path), "stride", None) for path in sorted(owners)]


class _Function:
    """A function in a module's place; to JAX it is a leaf."""

    def __init__(self, function: Callable):
        self.function = function
        self.__signature__ = inspect.signature(function)

    def __call__(self, x: Any, **options: Any) -> Any:
        return self.function(x, **options)


class _Changed:
    """A module in whose place another function is called."""

    def __init__(self, module: Any, called: Callable):
        self._module, self._called = module, called

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._called(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _name(tree: Any, path: tuple[Any, ...]) -> str:
    return tree.keystr(path, simple=True, separator=".")
