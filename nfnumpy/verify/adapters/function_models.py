"""Networks that are functions of their parameters: bare ones, and objects with `init` and `apply`."""

import functools
import re

import numpy as np

from ...errors import InputError
from ...weights import to_haiku, to_timm
from ..network.rules import Rules
from ..network.shapes import parameter_shapes
from .asking import parameter_names
from .calling import asked
from .torch_models import _logits_of

SCHEMES = ("ours", "timm", "haiku")


class _OfParameters:
    """What both have in common: logits by a function of (parameters, images), and derivatives through the framework."""

    outputs_first = False

    def attach(self, names):
        """Nothing can be looked into."""

    def ask(self, arrays, images, cotangent_of, dtype):
        """({"logits": array}, gradients). See subjects/models.py."""
        return asked("model", self._run, arrays, images, cotangent_of, dtype)

    def _run(self, arrays, images, cotangent_of, dtype):
        there = {name: self.framework.array(array, dtype) for name, array in arrays.items()}
        images = self.framework.array(np.ascontiguousarray(self.turned(images)), dtype)

        def logits(*values):
            return _logits_of(self.called(self.tree(dict(zip(there, values))), images))

        value, grads = self.framework.value_and_vjp(logits, list(there.values()), cotangent_of)
        if grads is None:
            return {"logits": value}, None
        return {"logits": value}, {name: np.zeros(arrays[name].shape) if grad is None else grad
                                   for name, grad in zip(there, grads)}

    def turned(self, images):
        """Images as the target has them."""
        return images


class FunctionModel(_OfParameters):
    """f(parameters, images): parameters are a dict of ours, of timm's, or the authors' tree, as `scheme` says."""

    def __init__(self, target, framework, config, options):
        options = dict(options)
        self.framework, self.scheme = framework, options.pop("scheme", "ours")
        if config is None:
            raise InputError("model: a function of (parameters, images) does not say which network it is; give option "
                             "variant=NAME")
        if self.scheme not in SCHEMES:
            raise InputError(f"model: option scheme={self.scheme}: expected {', '.join(SCHEMES)}")
        self.called = functools.partial(target, **options)
        state = {name: np.broadcast_to(np.float32(0), shape) for name, shape in
                 parameter_shapes(config, Rules()).items()}
        self.shapes = {name: tuple(np.shape(array)) for name, array in self._flat(state).items()}
        self.outputs_first = self.scheme == "timm"

    def _flat(self, state):
        if self.scheme == "timm":
            return to_timm(state)
        if self.scheme == "haiku":
            return {f"{path}/{leaf}": array for path, leaves in to_haiku(state).items()
                    for leaf, array in leaves.items()}
        return state

    def tree(self, arrays):
        """The dict that the target takes."""
        if self.scheme != "haiku":
            return arrays
        tree = {}
        for name, array in arrays.items():
            path, _, leaf = name.rpartition("/")
            tree.setdefault(path, {})[leaf] = array
        return tree

    def turned(self, images):
        """NCHW for timm's."""
        return images.transpose(0, 3, 1, 2) if self.scheme == "timm" else images


class TreeModel(_OfParameters):
    """An object with init(key, images) and apply(parameters, images), as Flax's modules and Haiku's transforms have."""

    def __init__(self, target, framework, options):
        self.framework, self.target, self.options = framework, target, dict(options)
        size = int(self.options.pop("init_size", 32))
        self.jax = framework.jax
        images = self.jax.numpy.zeros((1, size, size, 3))
        self.initial, self.state = asked("model", self._init, images)
        self.leaves = dict(_leaves(self.initial))
        self.shapes = {name: tuple(leaf.shape) for name, leaf in self.leaves.items()}

    def _init(self, images):
        """(parameters, state or None), as shapes only: nothing is computed."""
        made = self.jax.eval_shape(lambda: self.target.init(self.jax.random.PRNGKey(0), images, **self.options))
        return made if isinstance(made, tuple) else (made, None)

    def tree(self, arrays):
        """The nested dict that apply takes; what we have no name for is zeros."""
        return self._filled(self.initial, arrays)

    def _filled(self, value, arrays, place=()):
        if hasattr(value, "items"):
            return {key: self._filled(inner, arrays, (*place, key)) for key, inner in value.items()}
        name = "/".join(place)
        return arrays[name] if name in arrays else self.jax.numpy.zeros(value.shape, value.dtype)

    def called(self, parameters, images):
        """The network's answer; Haiku's transforms take a state and a key between the two."""
        between = []
        for name in parameter_names(self.target.apply)[1:]:
            if name not in ("state", "rng", "key"):
                break
            between.append(self._filled(self.state, {}) if name == "state" else None)
        return self.target.apply(parameters, *between, images, **self.options)


def _leaves(tree, place=()):
    """(name, leaf) of a nested dict; JAX sorts keys as text, here block_10 follows block_9."""
    in_order = sorted(tree.items(), key=lambda item: [int(part) if part.isdigit() else part
                                                      for part in re.split(r"(\d+)", str(item[0]))])
    for key, value in in_order:
        if hasattr(value, "items"):
            yield from _leaves(value, (*place, key))
        else:
            yield "/".join((*place, key)), value
