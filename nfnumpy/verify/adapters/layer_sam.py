"""Sharpness-aware minimization for Keras: networks whose `train_step` makes two passes, functions in its place, and
optimizers with a first and a second step that get gradients and variables.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .guarded_call import guarded
from .layer_clipping import GRADIENTS, LEAF_NAMES, MODEL, OPTIMIZER, VARIABLES, inner_network
from .layer_factories import all_parameters
from .signatures import Role, first_named

FIRST, SECOND = ("first_step", "ascent_step", "perturb", "ascent"), ("second_step", "descent_step", "descent")
STEPS = 2
OF_THE_LOSS = ("mixing", "offset")

Run = Callable[[Any], Mapping[str, np.ndarray]]


def layer_sam(target: Any, framework: Any, options: Mapping[str, Any], rho: Role) -> Run | None:
    """The function of an input case, or None for none of these forms."""
    form = _Form(target, framework, options, rho)
    if isinstance(target, type) and hasattr(target, "train_step"):
        return form.of_a_network
    if isinstance(target, type) and first_named(form.parameters, OPTIMIZER) and has_stages(target):
        return form.of_stages
    names = list(form.parameters)
    if callable(target) and not isinstance(target, type) and len(names) >= 2 and names[0].lower() in (*MODEL, "self"):
        return form.of_a_function
    return None


def has_stages(target: Any) -> bool:
    """Whether its optimizers have a first and a second step."""
    return all(any(hasattr(target, name) for name in names) for names in (FIRST, SECOND))


class _Form:
    """A target, and the name of its rho."""

    def __init__(self, target: Any, framework: Any, options: Mapping[str, Any], rho: Role):
        self.target, self.framework, self.options = target, framework, options
        self.parameters = all_parameters(target)
        self.rho = first_named(self.parameters, rho.names)

    def of_a_network(self, case: Any) -> Mapping[str, np.ndarray]:
        """A class of networks: around another network, or that network itself."""
        settings = self._settings(case)
        inner = inner_network(self.parameters, settings)
        record = _Record(self.framework, case)
        if inner is None:
            network = record.network(self.target, **settings)
        else:
            network = guarded("sam", self.target, **{inner: record.network()}, **settings)
        optimizer = record.optimizer()
        return record.of_steps(lambda: self.framework.train_step(network, optimizer))

    def of_a_function(self, case: Any) -> Mapping[str, np.ndarray]:
        """A function (model, data) in the place of a network's `train_step`."""
        record = _Record(self.framework, case)
        base = type("Trained", (self.framework.keras.Model,), {
            "train_step": lambda network, data: self.target(network, *self._data(data), **self._settings(case))})
        network, optimizer = record.network(base), record.optimizer()
        return record.of_steps(lambda: self.framework.train_step(network, optimizer))

    def _data(self, data):
        """The batch as one argument, or as two."""
        return (data,) if list(self.parameters)[1].lower() in ("data", "batch") else data

    def of_stages(self, case: Any) -> Mapping[str, np.ndarray]:
        """An optimizer with a first and a second step, each given gradients and variables."""
        record = _Record(self.framework, case)
        record.network()
        wrapped = str(first_named(self.parameters, OPTIMIZER))
        optimizer = guarded("sam", self.target, **{wrapped: record.optimizer()}, **self._settings(case))
        first, second = (next(getattr(optimizer, name) for name in names if hasattr(optimizer, name))
                         for names in (FIRST, SECOND))

        def step():
            for stage in (first, second):
                _given(stage, record.gradients(), record.variables)
        return record.of_steps(step)

    def _settings(self, case):
        known = {} if self.rho is None else {self.rho: case.options["rho"]}
        return {**known, **self.options}


def _given(stage, gradients, variables):
    """Call a stage with gradients and variables, by its parameters' names: lists, or a list of pairs."""
    names = all_parameters(stage)
    of_gradients, of_variables = first_named(names, GRADIENTS), first_named(names, VARIABLES)
    if of_gradients and of_variables:
        stage(**{of_gradients: gradients, of_variables: variables})
    elif len(names) >= 2:
        stage(gradients, variables)
    else:
        stage(list(zip(gradients, variables, strict=True)))


def _path(name):
    """The path of a parameter in a network."""
    layer, _, leaf = name.replace(".", " ").rpartition(" ")
    return f"{layer.replace(' ', '_')}.{LEAF_NAMES.get(leaf, leaf)}" if layer else f"{leaf}.kernel"


class _Record:
    """The weights of an input case in a network whose output is the loss, and where that was computed."""

    def __init__(self, framework: Any, case: Any):
        self.framework, self.case = framework, case
        self.arrays = {name: array for name, array in case.arrays.items() if name not in OF_THE_LOSS}
        self.mixing, self.offset = (framework.array(case.arrays[name]) for name in OF_THE_LOSS)
        self.places: list[np.ndarray] = []
        self.variables: list[Any] = []

    def network(self, base: type | None = None, **settings: Any) -> Any:
        """The network, of a class `base`."""
        paths = {_path(name): array for name, array in self.arrays.items()}
        network, weights = self.framework.network_of(paths, self._loss, base, **settings)
        self.variables = list(weights.variables.values())
        return network

    def optimizer(self) -> Any:
        """SGD as the case has it."""
        return self.framework.sgd([], **{name: self.case.options[name] for name in ("lr", "momentum", "nesterov")})

    def gradients(self) -> list[Any]:
        """Of the loss, by all variables."""
        return self.framework.gradients_of(self._loss, self.variables)

    def of_steps(self, step: Callable[[], Any]) -> Mapping[str, np.ndarray]:
        """All weights as one vector: at the last loss of the first step, and after each step."""
        outputs: dict[str, np.ndarray] = {}
        for count in range(1, STEPS + 1):
            self.places.clear()
            step()
            if self.places:
                outputs.setdefault("weights after the ascent", self.places[-1])
            outputs[f"weights after step {count}"] = self._weights()
        return outputs

    def _loss(self, variables):
        if not self.framework.is_stateless:  # else the weights are no numbers inside a step
            self.places.append(self._weights())
        return self.framework.softplus_loss(self.mixing, self.offset, variables)

    def _weights(self):
        return np.concatenate([self.framework.host(variable).reshape(-1) for variable in self.variables])
