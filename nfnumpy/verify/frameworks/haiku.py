"""Haiku: modules that can be made only inside a transformed function, functions that call them, transformed pairs."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .base import Cotangent, Host
from .jax_calls import KEYS, all_names, flags, in_training, leaves_of, names_of, nested
from .jax_handle import Form, Watch
from .jax_modules import JaxModules
from .layer_observation import keeping

AVERAGES = ("hidden", "average", "counter")  # the state of hk.ExponentialMovingAverage
NORMALIZATION = {"create_scale": True, "create_offset": True, "decay_rate": 0.9}
MANY = 1_000_000  # batches, after which an average no longer depends on their number


class Untransformed:
    """What has to be called inside a transformed function; make() gives a function of x there."""

    def __init__(self, make: Callable[[], Callable], title: str):
        self.make, self.__qualname__ = make, title

    def __call__(self, x: Any, **options: Any) -> Any:
        """Its output inside a transformed function."""
        return self.make()(x, **options)


class Haiku(JaxModules):
    """Haiku. Whether a function needs a transformation is found out by calling it without one."""

    name = "haiku"
    packages = ("haiku",)

    def __init__(self):
        super().__init__()
        import haiku
        self.haiku = haiku

    def is_module(self, target: Any) -> bool:
        return isinstance(target, (Untransformed, self.haiku.Transformed, self.haiku.TransformedWithState))

    def form_of(self, target: Any) -> Form:
        if not isinstance(target, Untransformed):
            function = target.init._original_fn
            target = Untransformed(lambda: function, getattr(function, "__qualname__", "function"))
        return HaikuForm(self, target)

    def further_arguments(self, target: Any) -> dict[str, Any]:
        """What Haiku's normalizations have no default of."""
        found = {name: value for name, value in NORMALIZATION.items() if name in all_names(target)}
        return {**super().further_arguments(target), **found}

    def made(self, target: Callable, *arguments: Any, **options: Any) -> Any:
        """What a class or factory makes, or how to make it inside a transformed function."""
        title = getattr(target, "__qualname__", type(target).__name__)
        untransformed = Untransformed(functools.partial(target, *arguments, **options), title)
        if isinstance(target, type) and issubclass(target, self.haiku.Module):
            return untransformed
        try:
            made = target(*arguments, **options)
        except ValueError as error:
            if "transform" in str(error):
                return untransformed
            raise
        return Untransformed(lambda: made, title) if inspect.isfunction(made) else made

    def built(self, function: Callable[..., Any], shape: Sequence[int | None] = ()) -> Any:
        return Untransformed(lambda: function, getattr(function, "__qualname__", "function"))

    def value_and_vjp(self, function: Callable, arrays: Sequence[Any],
                      cotangent: Cotangent) -> tuple[Host, list[Host | None] | None]:
        transformed = self.haiku.transform(function)
        return super().value_and_vjp(functools.partial(transformed.apply, {}, self.rng(0)), arrays, cotangent)


class HaikuForm(Form):
    """By hk.transform_with_state."""

    def __init__(self, framework: Haiku, target: Untransformed):
        self.haiku, self.jax, self.target = framework.haiku, framework.jax, target
        self.found: list[Any] = []  # strides
        self.hidden: dict[str, Any] = {}

    def _transformed(self, training, options, watch):
        def function(x):
            made = self.target.make()
            names = names_of(made.__call__ if isinstance(made, self.haiku.Module) else made)
            given = {name: self.haiku.next_rng_key() for name in names if name in KEYS}
            with self.haiku.intercept_methods(functools.partial(self._intercept, watch, training)):
                return made(x, **{**flags(names, training is True), **given, **options})

        return self.haiku.transform_with_state(function)

    def _intercept(self, watch, training, call, arguments, options, context):
        """Keep what is to be seen, and let modules with running statistics be in training."""
        path = getattr(context.module, "module_name", None)  # none before the constructor of hk.Module is done
        if context.method_name != "__call__" or path is None:
            return call(*arguments, **options)
        self.found.append(getattr(context.module, "stride", None))
        if training == "statistics" and self._has_state(path):
            call = in_training(call, inspect.signature(context.module.__call__))
        if path in watch.parts:
            call = keeping(watch.parts[path], watch.seen)(call)
        return call(*arguments, **options)

    def _has_state(self, path):
        """Whether a module itself, or an average right inside it, has a state."""
        return any(owner == path or owner.rpartition("/~/")[0] == path for owner, _ in self.paths.values())

    def start(self, x: Any) -> None:
        order: dict[str, tuple[str, str]] = {}

        def init(key, x):
            trees = self._transformed(True, {}, Watch({})).init(key, x)
            for tree in trees:
                order.update({_name(*path): path for path, _ in leaves_of(tree)})
            return trees

        self.x, self.paths = x, {}
        parameters, state = self.jax.eval_shape(init, self.jax.random.PRNGKey(0), x)
        self.paths = order
        self.parameters, everything = ({name: tree[path][leaf] for name, (path, leaf) in order.items()
                                        if path in tree and leaf in tree[path]} for tree in (parameters, state))
        self.hidden = {name: shape for name, shape in everything.items() if name.endswith("_hidden")}
        self.buffers = {name: shape for name, shape in everything.items() if name not in self.hidden}

    def initial(self, names: set[str]) -> dict[str, Any]:
        def init(key, x):
            trees = self._transformed(True, {}, Watch({})).init(key, x)
            found = {_name(*path): leaf for tree in trees for path, leaf in leaves_of(tree)}
            return {name: leaf for name, leaf in found.items() if name in {*names, *self.hidden}}

        return self.jax.jit(init)(self.jax.random.PRNGKey(0), self.jax.numpy.zeros(self.x.shape, self.x.dtype))

    def completed(self, arrays: dict[str, Any], loaded: set[str]) -> dict[str, Any]:
        """An average that is loaded is one of many batches, or of none, as its counter says where that is loaded."""
        for name in loaded:
            front, _, leaf = name.rpartition("_")
            if leaf == "average" and f"{front}_hidden" in self.hidden:
                count = arrays.get(f"{front}_counter", 0) if f"{front}_counter" in loaded else MANY
                arrays[f"{front}_counter"] = self.jax.numpy.asarray(count)
                arrays[f"{front}_hidden"] = self.jax.numpy.asarray(arrays[name]) * (count > 0)
        return arrays

    def run(self, arrays: Mapping[str, Any], x: Any, key: Any, training: bool | str, options: Mapping[str, Any],
            watch: Watch) -> tuple[Any, dict[str, Any]]:
        parameters, state = (nested({self.paths[name]: arrays[name] for name in names})
                             for names in (self.parameters, {**self.buffers, **self.hidden}))
        output, after = self._transformed(training, options, watch).apply(parameters, state, key, x)
        return output, {_name(*path): leaf for path, leaf in leaves_of(after)}

    @property
    def strides(self) -> list[Any]:
        return self.found


def _name(path: str, leaf: str) -> str:
    """module/path.leaf; the average of mean_ema is module/path.mean_ema_average."""
    if leaf not in AVERAGES:
        return f"{path}.{leaf}"
    owner, _, last = path.rpartition("/")
    return f"{owner.removesuffix('/~')}.{last}_{leaf}"
