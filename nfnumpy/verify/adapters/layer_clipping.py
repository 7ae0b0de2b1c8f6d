"""Adaptive gradient clipping for TensorFlow and Keras, where gradients are lists beside the lists of variables.

Functions of (parameters, gradients) or (gradients and variables), objects that are such functions, optimizers and
wrappers of them, and networks whose `train_step` clips. Functions of one gradient and parameter are in agc.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .agc_functions import AFTER, FROZEN, LARGE_STEP, SUFFIXES, clipped
from .agc_optimizers import CHANGE_OF_FROZEN
from .agc_target import GRADIENT_OF, ClippingTarget, weights_of
from .guarded_call import guarded
from .layer_factories import all_parameters
from .signatures import Parameters, first_named, required, takes_any_keyword

VARIABLES = ("parameters", "params", "variables", "vars", "trainable_variables", "trainable_vars", "weights",
             "trainable_weights", "model_params", "var_list", "parameter_list", "trainable_params", "tvars")
GRADIENTS = ("gradients", "grads", "gradient_list", "grad_list", "gs")
PAIRS = ("grads_and_vars", "gvs", "gradients_and_variables", "grads_vars", "grad_and_vars", "grads_and_params")
MODEL = ("model", "module", "net", "network", "inner_model", "base_model", "backbone")
OPTIMIZER = ("optim", "optimizer", "base_optimizer", "inner", "inner_optimizer", "base_optim", "opt")
RATE = ("learning_rate", "lr")
STEP_USES, LIST_USES = ("second", "frozen"), ("frozen",)
LEAF_NAMES = {"weight": "kernel"}

Run = Callable[[Any], Mapping[str, np.ndarray]]


def layer_clipping(known: ClippingTarget,
                   roles: Mapping[str, Any]) -> tuple[Run, bool, tuple[str, ...]] | None:
    """(the function of an input case, whether the target knows the last layer, its uses), or None for no such form.

    roles: the names of clipping and eps.
    """
    target, form = known.target, _Form(known, roles)
    if isinstance(target, type) and hasattr(target, "train_step"):
        return form.of_a_network, True, STEP_USES
    if isinstance(target, type) and (hasattr(target, "apply_gradients") or first_named(form.parameters, OPTIMIZER)):
        return form.of_an_optimizer, False, STEP_USES
    if form.is_a_list_function(target):
        return (lambda case: form.of_lists(case, target)), False, LIST_USES
    settings = form.settings(None)
    if callable(target) and settings and not set(required(form.parameters)) - settings.keys():
        if form.is_a_list_function(guarded("agc", target, **settings)):
            return (lambda case: form.of_lists(case, target(**form.settings(case)))), False, LIST_USES
    return None


class _Form:
    """A target, with the parameters of its class and of the bases that it hands options on to."""

    def __init__(self, known: ClippingTarget, roles: Mapping[str, Any]):
        self.known, self.roles, self.target = known, roles, known.target
        self.framework: Any = known.framework
        self.parameters = all_parameters(known.target)

    def settings(self, case: Any) -> dict[str, Any]:
        """The keywords for clipping, eps and the options; the usual values where there is no case."""
        usual = {"clipping": 0.01, "eps": 1e-3} if case is None else case.options
        names = {role: self.known.binding.names[role] or first_named(self.parameters, known.names)
                 for role, known in self.roles.items()}
        return {**{name: usual[role] for role, name in names.items() if name is not None}, **self.known.binding.passed}

    def is_a_list_function(self, function: Any) -> bool:
        """Whether a function takes lists of variables and gradients, or a list of pairs."""
        names = all_parameters(function)
        return callable(function) and not isinstance(function, type) and bool(
            first_named(names, PAIRS) or (first_named(names, GRADIENTS) and first_named(names, VARIABLES)))

    def of_lists(self, case: Any, function: Callable) -> Mapping[str, np.ndarray]:
        """A function of lists that returns gradients, or pairs of a gradient and its variable."""
        names, arrays, use = all_parameters(function), _arrays(case), case.options["use"]
        variables = [self.framework.parameter(self.framework.array(array)) for array, _ in arrays.values()]
        gradients = self._gradients(case)
        settings = self.settings(case) if function is self.target else {}
        pairs = first_named(names, PAIRS)
        if pairs:
            returned = function(**{pairs: list(zip(gradients, variables, strict=True))}, **settings)
        else:
            both = {str(first_named(names, GRADIENTS)): gradients, str(first_named(names, VARIABLES)): variables}
            returned = function(**both, **settings)
        results = [each[0] if isinstance(each, (tuple, list)) else each for each in returned]
        host = self.framework.host
        found = {clipped(name, SUFFIXES.get(use, "")): host(grad) for name, grad in zip(arrays, results, strict=True)
                 if grad is not None or use == "plain"}
        if use != "plain":
            return found
        return {**found, **{f"{name}{AFTER}": host(each) for name, each in zip(arrays, variables, strict=True)}}

    def of_an_optimizer(self, case: Any) -> Mapping[str, np.ndarray]:
        """An optimizer that clips, or a wrapper: the gradients follow from the changes of the variables."""
        def changes(decay, suffix=""):
            optimizer = guarded("agc", self.target, **self._optimizer_settings(decay, case))
            _, weights = self._network(case)
            variables = list(weights.variables.values())
            return self._changes(case, weights, lambda: self.framework.apply_gradients(
                optimizer, self._gradients(case), variables), suffix)

        outputs = changes(0.0)
        takes_decay = first_named(self.parameters, OPTIMIZER) or "weight_decay" in self.parameters
        if case.options["use"] == "plain" and takes_decay:
            outputs |= changes(case.options["weight_decay"], " with weight decay")
        return outputs

    def _optimizer_settings(self, decay, case):
        settings, wrapped = self.settings(case), first_named(self.parameters, OPTIMIZER)
        if wrapped is not None:
            return {**settings, wrapped: self.framework.sgd([], lr=LARGE_STEP, weight_decay=decay)}
        known = {first_named(self.parameters, RATE): LARGE_STEP, "momentum": 0.0, "nesterov": False,
                 "weight_decay": decay}
        return {**settings, **{name: value for name, value in known.items() if name in self.parameters}}

    def of_a_network(self, case: Any) -> Mapping[str, np.ndarray]:
        """A class of networks that clips in `train_step`: around another network, or that network itself."""
        settings = self.settings(case)
        inner = inner_network(self.parameters, settings)
        if inner is None:
            network, weights = self._network(case, self.target, **settings)
        else:
            given, weights = self._network(case)
            network = guarded("agc", self.target, **{inner: given}, **settings)
        optimizer = self.framework.sgd([], lr=LARGE_STEP)
        return self._changes(case, weights, lambda: self.framework.train_step(network, optimizer))

    def _changes(self, case, weights, step, suffix=""):
        """The clipped gradients that a step shows, or the second of two from the same weights."""
        use, framework = case.options["use"], self.framework
        starts = {name: array for name, (array, _) in _arrays(case).items()}
        step()
        if use == "second":
            starts = {name: weights_of(use) * array for name, array in starts.items()}
            for array, variable in zip(starts.values(), weights.variables.values(), strict=True):
                framework.assign(variable, framework.array(array))
            step()
        found = {clipped(name, SUFFIXES.get(use, suffix)): (array - framework.host(variable)) / LARGE_STEP
                 for (name, array), variable in zip(starts.items(), weights.variables.values(), strict=True)}
        if use == "frozen":
            found[CHANGE_OF_FROZEN] = found.pop(clipped(FROZEN, SUFFIXES[use]))
        return found

    def _gradients(self, case):
        """The gradients, None for a parameter that has none."""
        return [None if self._is_frozen(case, name) else self.framework.array(grad)
                for name, (_, grad) in _arrays(case).items()]

    def _is_frozen(self, case, name):
        return case.options["use"] == "frozen" and name == FROZEN

    def _network(self, case, base=None, **settings):
        """(a network, its Weights): its output has the case's gradients."""
        arrays = _arrays(case)
        paths = {self._path(name): array for name, (array, _) in arrays.items()}
        value = self.framework.product_with([None if self._is_frozen(case, name) else grad
                                             for name, (_, grad) in arrays.items()])
        return self.framework.network_of(paths, value, base, **settings)

    def _path(self, name):
        """The path of a parameter in a network whose last layer is called `final`."""
        layer, _, leaf = name.replace(".", " ").rpartition(" ")
        layer = self.known.final if layer == "final" else layer.replace(" ", "_") or f"{leaf}_alone"
        return f"{layer}.{LEAF_NAMES.get(leaf, leaf)}"


def inner_network(parameters: Parameters, known: Mapping[str, Any]) -> str | None:
    """The name of the parameter that takes the network that is trained, or None."""
    named = first_named(parameters, MODEL)
    needed = [name for name in required(parameters) if name not in known]
    return named or (needed[0] if needed and not takes_any_keyword({needed[0]: parameters[needed[0]]}) else None)


def _arrays(case):
    """name -> (parameter, gradient)."""
    return {name: (array, case.arrays[f"{GRADIENT_OF}{name}"]) for name, array in case.arrays.items()
            if not name.startswith(GRADIENT_OF)}
