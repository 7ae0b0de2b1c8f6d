"""Moving averages of weights: classes around a model or parameters, functions of one update, transformations."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ...autograd import Tensor
from ...errors import InputError
from ...optim import ExponentialMovingAverage
from ..frameworks import framework_of
from . import Adapter
from .ema_classes import STEP, AveragingClass, by_update
from .ema_dicts import AveragingDict
from .guarded_call import guarding
from .layer_ema import layer_averages
from .signatures import Role, bind, first_named, parameters_of, required, takes_any_keyword, unusable

DECAY = ("decay", "beta", "ema_decay", "momentum", "alpha", "mu", "ema_rate", "max_decay")
ONE_MINUS_DECAY = ("step_size", "tau", "rate")
MODEL = ("model", "module", "net", "network")
PARAMETERS = ("parameters", "params", "model_params", "model_parameters")
AVERAGE = ("average", "avg", "ema", "old", "old_tensors", "shadow", "target", "ema_params", "averaged", "old_params",
           "ema_value", "averages", "avg_params", "ema_weights", "mean", "running", "averaged_model_parameter", "a")
EXPECTED = ("a class (model, decay=) or (parameters, decay=) with update, a function (average, value, step or decay) "
            "-> average, or what makes a transformation (decay, …)")


def average_adapter(target: Any, wish: str, options: Mapping[str, Any]) -> Adapter:
    """The Adapter, with `decay` fixed where the target has only one; InputError for anything that averages otherwise.

    options go to the target; decay is the reference's too.
    """
    framework = framework_of(target, wish).without_modules
    parameters = parameters_of(target) or {}
    if not callable(target):
        raise unusable("ema", target, EXPECTED)
    binding = bind(parameters, {"decay": Role(DECAY)}, options)
    fixed, decay_name = binding.fixed["decay"], binding.names["decay"] or first_named(parameters, ONE_MINUS_DECAY)
    if fixed is None and decay_name is None and not takes_any_keyword(parameters):
        raise InputError("ema: the target takes no decay; give the one that it has: --option decay=…")
    if target is ExponentialMovingAverage:
        return Adapter(guarding("ema", lambda case: by_update(reference_averages(case))), framework, {"decay": fixed})
    form = _Call(target, parameters, framework, decay_name, binding.passed).form()
    return Adapter(guarding("ema", form.run), framework, {"decay": fixed}, notes=form.notes, uses=form.uses)


def reference_averages(case: Any) -> list[np.ndarray]:
    """The averages of nfnumpy's own class."""
    tensor, averages = Tensor(np.asarray(case.arrays["initial"]), requires_grad=True), []
    keeper: Any = ExponentialMovingAverage({"weight": tensor}, decay=case.options["decay"])
    for weight in case.arrays["weights"]:
        tensor.data = np.asarray(weight)
        keeper.update()
        averages.append(keeper.average["weight"])
    return averages


class _Form(NamedTuple):
    """run: the function of an input case; notes: for the report; uses: how else the target can be used."""

    run: Callable[[Any], Mapping[str, np.ndarray]]
    notes: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()


class _Call:
    """decay_name: the parameter that takes the decay or 1 - decay, or None; options: passed to the target."""

    def __init__(self, target, parameters, framework, decay_name, options):
        self.target, self.parameters, self.framework = target, parameters, framework
        self.decay_name, self.options = decay_name, options

    def form(self) -> _Form:
        """How it is called, from its type and the names of its parameters."""
        names, framework = list(self.parameters), self.framework
        average, wanted = first_named(names, AVERAGE), required(self.parameters)
        model, params = first_named(names[:1], MODEL), first_named(names[:1], PARAMETERS)
        if framework.has_layers and (averages := layer_averages(self.target, framework, self.settings,
                                                                self.decay_name)):
            return _Form(averages)
        if average is not None and len(wanted) >= 2 and not isinstance(self.target, type):
            return self._of_one_update(average)
        first = model or params
        if framework.has_modules and first:
            keeper = AveragingClass(self.target, framework, first, model is not None, self.settings)
            return _Form(keeper.run, keeper.notes(), keeper.uses)
        if params and isinstance(self.target, type):
            return _Form(AveragingDict(self.target, framework, params, self.settings).run)
        if framework.has_transformations and self.decay_name and set(wanted) <= {self.decay_name}:
            return _Form(self._of_a_transformation(), ("it starts without the weights before the first update",))
        raise unusable("ema", self.target, EXPECTED)

    def settings(self, decay: float) -> dict[str, Any]:
        """The keywords for a decay, and the options."""
        if self.decay_name is None or self.decay_name in self.options:
            return dict(self.options)
        value = 1.0 - decay if self.decay_name.lower() in ONE_MINUS_DECAY else decay
        return {self.decay_name: value, **self.options}

    def _of_one_update(self, average_name):
        """(average, value[, decay][, step]) -> average, or the average changed in place."""
        step_name = first_named(self.parameters, STEP)
        known = (average_name, self.decay_name, step_name, *self.options)
        value_name = next((name for name in required(self.parameters) if name not in known), None)
        if value_name is None:
            raise unusable("ema", self.target, EXPECTED)
        warmed_up = step_name is None and self.decay_name is not None and self.decay_name not in self.options
        framework = self.framework

        def run(case):
            average, averages = framework.array(np.array(case.arrays["initial"])), []
            limit = case.options["decay"]
            for count, weight in enumerate(case.arrays["weights"]):
                settings = self.settings(min(limit, (1 + count) / (10 + count)) if warmed_up else limit)
                if step_name:
                    settings[step_name] = count
                arrays = {average_name: average, value_name: framework.array(np.array(weight))}
                returned = self.target(**arrays, **settings)
                average = average if returned is None else returned
                averages.append(np.array(framework.host(average)))
            return by_update(averages)

        if warmed_up:
            note = f"it gets the warmed-up {self.decay_name} of every update: the warm-up is its caller's"
            return _Form(run, (note,))
        return _Form(run, (f"{step_name} = 0, 1, 2, …",) if step_name else ())

    def _of_a_transformation(self):
        """As optax.ema, with weights in place of updates."""
        framework = self.framework

        def run(case):
            transformation, averages = self.target(**self.settings(case.options["decay"])), []
            state = transformation.init(framework.array(case.arrays["initial"]))
            for weight in case.arrays["weights"]:
                average, state = transformation.update(framework.array(weight), state)
                averages.append(framework.host(average))
            return by_update(averages)
        return run
