"""Networks that are functions of their parameters: bare ones, and objects with `init` and `apply`."""

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ...weights import to_haiku, to_timm
from ...weights.timm import COUNTER
from ..frameworks import Framework
from ..network.architecture import base_rules
from ..network.shapes import parameter_shapes
from .guarded_call import guarded
from .module_models import Trace, logits_of
from .signatures import parameter_names

SCHEMES = ("ours", "timm", "haiku")


class _OfParameters:
    """Logits by a function of (parameters, images), and derivatives through the framework."""

    framework: Framework
    shapes: Mapping[str, tuple[int, ...]]
    outputs_first = channels_first = can_train = False
    places: Mapping[str, str] = {}
    image_size: int | None = None

    def attach(self, names: Mapping[str, str]) -> None:
        """No parts can be observed."""

    def run(self, arrays: Mapping[str, np.ndarray], images: np.ndarray,
            cotangent_of: Callable[[np.ndarray], np.ndarray] | None,
            dtype: str) -> tuple[Trace, dict[str, np.ndarray] | None]:
        """({"logits": array}, gradients); see adapters/model.py."""
        return guarded("model", self._run, arrays, images, cotangent_of, dtype)

    def _run(self, arrays, images, cotangent_of, dtype):
        leaves = {name: self.framework.array(array, dtype) for name, array in arrays.items()}
        images = self.framework.array(np.ascontiguousarray(self.arranged(images)), dtype)

        def logits(*values):
            return logits_of(self.called(self.tree(dict(zip(leaves, values, strict=True))), images))

        value, grads = self.framework.value_and_vjp(logits, list(leaves.values()), cotangent_of)
        if grads is None:
            return {"logits": value}, None
        return {"logits": value}, {name: np.zeros(arrays[name].shape) if grad is None else grad
                                   for name, grad in zip(leaves, grads, strict=True)}

    def arranged(self, images: np.ndarray) -> np.ndarray:
        """Images (N, H, W, C) in the target's layout."""
        return images


class FunctionModel(_OfParameters):
    """f(parameters, images): parameters are a dict of ours, of timm's, or the authors' tree, as `scheme` says."""

    def __init__(self, target: Callable, framework: Framework, config: Any, options: Mapping[str, Any]):
        options = dict(options)
        self.framework, self.scheme = framework, options.pop("scheme", "ours")
        if config is None:
            raise InputError("model: a function of (parameters, images) can be any network; name it with option "
                             "variant=NAME")
        if self.scheme not in SCHEMES:
            raise InputError(f"model: option scheme={self.scheme}: expected {', '.join(SCHEMES)}")
        self.called = functools.partial(target, **options)
        state = {name: np.broadcast_to(np.float32(0), shape) for name, shape in
                 parameter_shapes(config, base_rules(config)).items()}
        self.shapes = {name: tuple(np.shape(array)) for name, array in self._flat(state).items()
                       if not name.endswith(COUNTER)}
        self.outputs_first = self.scheme == "timm"

    def _flat(self, state):
        if self.scheme == "timm":
            return to_timm(state)
        if self.scheme == "haiku":
            return {f"{path}/{leaf}": array for path, leaves in to_haiku(state).items()
                    for leaf, array in leaves.items()}
        return state

    def tree(self, arrays: Mapping[str, Any]) -> Mapping[str, Any]:
        """The dict that the target takes."""
        if self.scheme != "haiku":
            return arrays
        tree: dict[str, dict[str, Any]] = {}
        for name, array in arrays.items():
            path, _, leaf = name.rpartition("/")
            tree.setdefault(path, {})[leaf] = array
        return tree

    def arranged(self, images: np.ndarray) -> np.ndarray:
        """NCHW for timm's."""
        return images.transpose(0, 3, 1, 2) if self.scheme == "timm" else images


class TreeModel(_OfParameters):
    """An object with init(key, images) and apply(parameters, images), as Flax's modules and Haiku's transforms have."""

    def __init__(self, target: Any, framework: Framework, options: Mapping[str, Any]):
        self.framework, self.target, self.options = framework, target, dict(options)
        size = int(self.options.pop("init_size", 32))
        images = framework.zeros((1, size, size, 3))
        self.initial, self.state = guarded("model", self._init, images)
        self.leaves = dict(_leaves(self.initial))
        self.shapes = {name: tuple(leaf.shape) for name, leaf in self.leaves.items()}

    def _init(self, images):
        """(parameters, state or None), as shapes only: nothing is computed."""
        key = self.framework.rng(0)
        made = self.framework.shapes_of(lambda: self.target.init(key, images, **self.options))
        return made if isinstance(made, tuple) else (made, None)

    def tree(self, arrays: Mapping[str, Any]) -> Mapping[str, Any]:
        """The nested dict that apply takes; parameters without a name of ours are zeros."""
        return self._filled(self.initial, arrays)

    def _filled(self, value, arrays, path=()):
        if hasattr(value, "items"):
            return {key: self._filled(inner, arrays, (*path, key)) for key, inner in value.items()}
        name = "/".join(path)
        return arrays[name] if name in arrays else self.framework.zeros(value.shape, value.dtype)

    def called(self, parameters: Mapping[str, Any], images: Any) -> Any:
        """The network's result; Haiku's transforms take a state and a key between the two."""
        between = []
        for name in parameter_names(self.target.apply)[1:]:
            if name not in ("state", "rng", "key"):
                break
            between.append(self._filled(self.state, {}) if name == "state" else None)
        return self.target.apply(parameters, *between, images, **self.options)


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """(name, leaf) of a nested dict; JAX sorts keys as text, here block_10 follows block_9."""
    def numbered(item):
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(item[0]))]

    for key, value in sorted(tree.items(), key=numbered):
        if hasattr(value, "items"):
            yield from _leaves(value, (*path, key))
        else:
            yield "/".join((*path, key)), value
