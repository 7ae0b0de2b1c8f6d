"""The runs of a normalization on an input case: two batches in training and one in evaluation; see norm.py."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import Framework, ModuleHandle
from .signatures import first_named, parameters_of, required

ROLES = {
    "x": ("x", "input", "inputs", "images", "a", "h", "z"),
    "gamma": ("gamma", "weight", "scale", "gain", "g", "w"),
    "beta": ("beta", "bias", "shift", "offset", "b"),
    "mean_weights": ("mean_weight", "mean_weights"),
    "variance_weights": ("var_weight", "var_weights", "variance_weight", "variance_weights"),
    "running_mean": ("running_mean", "moving_mean", "mean", "mu", "rm"),
    "running_variance": ("running_var", "running_variance", "moving_var", "moving_variance", "var", "variance", "rv"),
}
TRAINING = ("training", "train", "is_training", "use_batch_stats", "use_input_stats")
EVALUATION = ("use_running_average", "evaluation", "inference", "deterministic")
GROUPS = ("num_groups", "groups", "n_groups", "group")
EPS = ("eps", "epsilon")
LEAVES = ("gamma", "beta", "mean_weights", "variance_weights")
RUNNING = ("running_mean", "running_variance")
STATISTICS = ("running mean", "running variance")
ROLE_OF = (  # the role of a module's parameter or buffer by its name, and whether it has three values
    ("mean_weights", r"mean", True), ("variance_weights", r"var", True), ("running_mean", r"mean|(^|_)mu$", False),
    ("running_variance", r"var", False), ("beta", r"beta|bias|shift|offset|^b$", False),
    ("gamma", r"gamma|weight|scale|gain|^[gw]$", False))


def kind_of(value: Any) -> str:
    """What a value is, for an error."""
    return "None" if value is None else f"an object of type {type(value).__name__}"


class Layout:
    """Whether x is given as (N, C, H, W): the framework's usual layout first, and the other if that raises."""

    def __init__(self, framework: Framework, first: bool, is_certain: bool):
        self.framework, self.first, self.is_certain = framework, first, is_certain

    def tried(self, function: Callable[[], Any]) -> Any:
        """function() in the layout that does not raise; of two errors, that of the usual layout."""
        if self.is_certain:
            return function()
        try:
            result = function()
        except (Exception, SystemExit) as usual:
            self.first = not self.first
            try:
                result = function()
            except (Exception, SystemExit):
                self.first = not self.first
                raise usual from None
        self.is_certain = True
        return result

    def to_target(self, x: np.ndarray) -> np.ndarray:
        """Images (N, H, W, C) in the target's layout."""
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if self.first else x

    def from_target(self, x: np.ndarray) -> np.ndarray:
        """The reverse."""
        return x.transpose(0, 2, 3, 1) if self.first and x.ndim == 4 else x


class ModuleRuns:
    """Runs of a module; make(channels, groups) makes one for every case."""

    def __init__(self, make: Callable[[int, int], Any], framework: Framework, layout: str | None, owned: bool):
        self.make, self.framework, self.owned = make, framework, owned
        self.layout = Layout(framework, layout == "NCHW" if layout else framework.channels_first, layout is not None)

    def leaves_of(self, handle: ModuleHandle) -> dict[str, tuple[str, tuple[int, ...]]]:
        """{role: (the module's name, shape)} of its parameters and buffers."""
        found: dict[str, tuple[str, tuple[int, ...]]] = {}
        buffers = {name: array.shape for name, array in handle.buffers.items() if array.ndim}
        for name, shape in {**handle.parameters, **buffers}.items():
            last = name.rpartition(".")[2].lower()
            for role, pattern, has_three in ROLE_OF:
                fits = math.prod(shape) == 3 if has_three else True
                if role not in found and fits and re.search(pattern, last):
                    found[role] = name, tuple(shape)
                    break
        return found

    def __call__(self, case: Any) -> Mapping[str, np.ndarray]:
        return self.layout.tried(lambda: self._run(case))

    def _run(self, case):
        x, second = case.arrays["x"], case.arrays["second"]
        module = self.framework.module(self.make(case.options["channels"], case.options["groups"]), owned=self.owned)
        module.build(self.layout.to_target(x))
        leaves = self.leaves_of(module)
        self._start(module, leaves, case)
        results = self._pass(module, leaves, case, x, training=True)
        results |= self._statistics(module, leaves)
        self._call(module, second, training=True)
        results |= self._statistics(module, leaves, " after two batches")
        self._start(module, leaves, case)
        evaluated = self._pass(module, leaves, case, x, training=False)
        results |= {f"{name} in evaluation": evaluated[name] for name in ("output", "gradient of x")
                    if name in evaluated}
        return results | self._statistics(module, leaves, " after evaluation")

    def _start(self, module, leaves, case):
        """Give the module the case's parameters and statistics, and let it count batches from 0."""
        values = {name: _shaped(case.arrays[role], shape, self.layout.first)
                  for role, (name, shape) in leaves.items()}
        counters = {name: np.zeros_like(array) for name, array in module.buffers.items() if not array.ndim}
        module.load({**values, **counters}, str(case.arrays["x"].dtype))

    def _call(self, module, x, training):
        out = module.call(self.layout.to_target(x), training=training)
        if not hasattr(out, "shape"):
            raise InputError(f"norm: the module returned {kind_of(out)}, expected an array")
        return out

    def _pass(self, module, leaves, case, x, training):
        out = self._call(module, x, training)
        host = self.framework.host(out)
        cotangent = np.resize(case.arrays["cotangent"], self.layout.from_target(host).shape)
        cotangent = self.layout.to_target(cotangent) if cotangent.ndim == 4 else cotangent
        x_grad, grads = module.gradients(out, cotangent)
        results = {"output": self.layout.from_target(host), "gradient of x": np.zeros(x.shape)}
        if x_grad is not None:
            results["gradient of x"] = self.layout.from_target(x_grad)
        for role in LEAVES:
            if role in leaves and leaves[role][0] in grads:
                name, shape = leaves[role]
                grad = np.zeros(shape) if grads[name] is None else grads[name]
                results[f"gradient of {role}"] = _gathered(grad, case.arrays[role].size, self.layout.first)
        return results

    def _statistics(self, module, leaves, when=""):
        buffers = module.buffers
        return {f"{title}{when}": buffers[leaves[role][0]].reshape(-1)
                for title, role in zip(STATISTICS, RUNNING, strict=True) if role in leaves
                and leaves[role][0] in buffers}


def _shaped(array, shape, channels_first):
    """An array (C,) in a parameter's shape, the same at all pixels where that has pixels too."""
    if math.prod(shape) == array.size:
        return array.reshape(shape)
    return np.broadcast_to(array.reshape(-1, 1, 1) if channels_first else array, shape)


def _gathered(grad, channels, channels_first):
    """The gradient of such a parameter, added up over its pixels, as (C,)."""
    if grad.size == channels:
        return grad.reshape(-1)
    return grad.sum(axis=(-2, -1) if channels_first else tuple(range(grad.ndim - 1))).reshape(-1)


class FunctionRuns:
    """Runs of a function of x, gamma, beta, running statistics and a flag, as its parameters' names tell."""

    def __init__(self, target: Callable, framework: Framework, options: Mapping[str, Any], channels_first: bool):
        self.target, self.framework, self.options = target, framework, dict(options)
        self.layout = Layout(framework, channels_first, is_certain=True)
        parameters = parameters_of(target) or {}
        free = [name for name in parameters if name not in options]
        self.roles = {role: first_named(free, names) for role, names in ROLES.items()}
        self.training, self.evaluation = first_named(free, TRAINING), first_named(free, EVALUATION)
        self.groups = first_named(free, GROUPS)
        bound = {*self.roles.values(), self.training, self.evaluation, self.groups}
        missing = [name for name in required(parameters) if name in free and name not in bound]
        for name in [name for name in missing if name.lower() in EPS]:
            self.options[name] = 1e-5
            missing.remove(name)
        if missing:
            flags = " ".join(f"--option {name}=…" for name in missing)
            raise InputError(f"norm: it is not known what the target takes as {', '.join(missing)}: give {flags}")

    def __call__(self, case: Any) -> Mapping[str, np.ndarray]:
        x, second = case.arrays["x"], case.arrays["second"]
        running = [case.arrays[role] for role in RUNNING] if self._has_statistics() else None
        results = self._differentiated(case, x, running, training=True)
        if running is not None:
            _, after = self._called(case, x, running, training=True)
            _, later = self._called(case, second, after, training=True)
            results |= {**named(after), **named(later, " after two batches")}
        if running is not None or self.training or self.evaluation:
            evaluated = self._differentiated(case, x, running, training=False)
            results |= {f"{name} in evaluation": evaluated[name] for name in ("output", "gradient of x")
                        if name in evaluated}
        if running is not None:
            results |= named(self._called(case, x, running, training=False)[1], " after evaluation")
        return results

    def _has_statistics(self):
        return all(self.roles[role] is not None for role in RUNNING)

    def _arguments(self, case, running, training):
        """Keyword arguments apart from x, gamma and beta."""
        given = dict(self.options)
        if running is not None:
            for role, array in zip(RUNNING, running, strict=True):
                given[self.roles[role]] = self.framework.array(np.array(array))
        for flag, value in ((self.training, training), (self.evaluation, not training)):
            if flag is not None:
                given[flag] = value
        if self.groups is not None:
            given[self.groups] = case.options["groups"]
        return given

    def _leaves(self, case):
        return {role: case.arrays[role] for role in LEAVES if self.roles[role] is not None}

    def _differentiated(self, case, x, running, training):
        leaves = self._leaves(case)
        arrays = [self.framework.array(np.array(array)) for array in (self.layout.to_target(x), *leaves.values())]

        def output(x, *values):
            given = self._arguments(case, running, training)
            return self._first(self._call(x, leaves, values, given))

        cotangent = np.resize(case.arrays["cotangent"], x.shape)
        value, grads = self.framework.value_and_vjp(output, arrays, None)
        if self.layout.from_target(value).shape == x.shape:
            value, grads = self.framework.value_and_vjp(output, arrays, self.layout.to_target(cotangent))
        results = {"output": self.layout.from_target(value)}
        if grads is not None:
            hosts = [np.zeros(array.shape) if grad is None else grad for array, grad in
                     zip((self.layout.to_target(x), *leaves.values()), grads, strict=True)]
            results["gradient of x"] = self.layout.from_target(hosts[0])
            results |= {f"gradient of {role}": grad for role, grad in zip(leaves, hosts[1:], strict=True)}
        return results

    def _call(self, x, leaves, values, given):
        by_name = {self.roles[role]: value for role, value in zip(leaves, values, strict=True)}
        return self.target(x, **by_name, **given)

    def _first(self, returned):
        out = next(_flat(returned), None)
        if not hasattr(out, "shape"):
            raise InputError(f"norm: the target returned {kind_of(out)}, expected an array")
        return out

    def _called(self, case, x, running, training):
        """(output, statistics after it): the two that are returned, or else those given, changed in place or not."""
        leaves, given = self._leaves(case), self._arguments(case, running, training)
        values = [self.framework.array(np.array(array)) for array in leaves.values()]
        returned = self._call(self.framework.array(np.array(self.layout.to_target(x))), leaves, values, given)
        out = self._first(returned)
        size = case.options["channels"]
        further = [array for array in list(_flat(returned))[1:]
                   if hasattr(array, "shape") and math.prod(array.shape) == size]
        after = further[:2] if len(further) >= 2 else [given[self.roles[role]] for role in RUNNING]
        return out, [self.framework.host(array).reshape(-1) for array in after]


def named(statistics: Iterable[Any], when: str = "") -> dict[str, Any]:
    """{title: array} of the running mean and variance; when: after which batch, the end of the titles."""
    return {f"{name}{when}": array for name, array in zip(STATISTICS, statistics, strict=True)}


def _flat(value: Any) -> Iterator[Any]:
    """The leaves of nested tuples, lists and dicts, in order."""
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from _flat(item)
    else:
        yield value
