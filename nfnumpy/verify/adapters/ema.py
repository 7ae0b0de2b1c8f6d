"""Moving averages of weights: classes around a model or parameters, functions of one update, transformations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...autograd import Tensor
from ...errors import InputError
from ...optim import ExponentialMovingAverage
from ..frameworks import framework_of
from . import Adapter
from .guarded_call import guarding
from .layer_ema import layer_averages
from .signatures import Role, bind, first_named, parameters_of, required, takes_any_keyword, unusable

DECAY = ("decay", "beta", "ema_decay", "momentum", "alpha", "mu", "ema_rate", "max_decay")
ONE_MINUS_DECAY = ("step_size", "tau", "rate")
STEP = ("step", "t", "count", "num_updates", "n", "iteration", "updates_done", "steps")
MODEL = ("model", "module", "net", "network")
PARAMETERS = ("parameters", "params", "model_params", "model_parameters")
AVERAGE = ("average", "avg", "ema", "old", "old_tensors", "shadow", "target", "ema_params", "averaged", "old_params",
           "ema_value", "averages", "avg_params", "ema_weights", "mean", "running", "averaged_model_parameter", "a")
ATTRIBUTES = ("module", "ema", "ema_model", "model", "averaged_model", "shadow_params", "shadow", "average", "averages",
              "ema_params", "averaged", "avg_params", "params")
UPDATES = ("update_parameters", "update", "step", "__call__")
SEPARATE = 3  # updates whose averages have names of their own
EXPECTED = ("a class (model, decay=) or (parameters, decay=) with update, a function (average, value, step or decay) "
            "-> average, or what makes a transformation (decay, …)")


def average_adapter(target: Any, wish: str, options: Mapping[str, Any]) -> Adapter:
    """The Adapter, with `decay` fixed where the target has only one; InputError for anything that averages otherwise.

    options go to the target; decay is the reference's too.
    """
    framework = framework_of(target, wish)
    parameters = parameters_of(target) or {}
    if not callable(target):
        raise unusable("ema", target, EXPECTED)
    binding = bind(parameters, {"decay": Role(DECAY)}, options)
    fixed, decay_name = binding.fixed["decay"], first_named(parameters, DECAY + ONE_MINUS_DECAY)
    if fixed is None and decay_name is None and not takes_any_keyword(parameters):
        raise InputError("ema: the target takes no decay; give the one that it has: --option decay=…")
    if target is ExponentialMovingAverage:
        return Adapter(guarding("ema", reference_averages), framework, {"decay": fixed})
    call = _Call(target, parameters, framework, decay_name, binding.passed)
    run, notes = call.run()
    return Adapter(guarding("ema", run), framework, {"decay": fixed}, notes=notes)


def by_update(averages: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The averages after every update, by name: the first three separate, the later ones together."""
    first = {f"average after update {count}": average for count, average in enumerate(averages[:SEPARATE], start=1)}
    later = averages[SEPARATE:]
    return {**first, "averages after later updates": np.stack(later)} if later else first


def reference_averages(case: Any) -> dict[str, np.ndarray]:
    """The averages of nfnumpy's own class."""
    tensor, averages = Tensor(np.asarray(case.arrays["initial"]), requires_grad=True), []
    keeper: Any = ExponentialMovingAverage({"weight": tensor}, decay=case.options["decay"])
    for weight in case.arrays["weights"]:
        tensor.data = np.asarray(weight)
        keeper.update()
        averages.append(keeper.average["weight"])
    return by_update(averages)


class _Call:
    """decay_name: the parameter that takes the decay or 1 - decay, or None; options: passed to the target."""

    def __init__(self, target, parameters, framework, decay_name, options):
        self.target, self.parameters, self.framework = target, parameters, framework
        self.decay_name, self.options = decay_name, options

    def run(self) -> tuple[Callable, tuple[str, ...]]:
        """(the function of an input case, notes)."""
        names = list(self.parameters)
        average = first_named(names, AVERAGE)
        model, params = first_named(names[:1], MODEL), first_named(names[:1], PARAMETERS)
        wanted = required(self.parameters)
        if self.framework.has_layers and (averages := layer_averages(self.target, self.framework, self.settings,
                                                                     self.decay_name)):
            return (lambda case: by_update(averages(case))), ()
        if average is not None and len(wanted) >= 2 and not isinstance(self.target, type):
            return self._of_one_update(average)
        if self.framework.has_modules and (model or params):
            return self._of_a_class(model or params, model is not None)
        if self.framework.has_transformations and self.decay_name and set(wanted) <= {self.decay_name}:
            return self._of_a_transformation(), ("it starts without the weights before the first update",)
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
            average, averages, limit = framework.array(case.arrays["initial"]), [], case.options["decay"]
            for count, weight in enumerate(case.arrays["weights"]):
                settings = self.settings(min(limit, (1 + count) / (10 + count)) if warmed_up else limit)
                if step_name:
                    settings[step_name] = count
                arrays = {average_name: average, value_name: framework.array(weight)}
                returned = self.target(**arrays, **settings)
                average = average if returned is None else returned
                averages.append(np.array(framework.host(average)))
            return by_update(averages)

        if warmed_up:
            return run, (f"it gets the warmed-up {self.decay_name} of every update: the warm-up is its caller's",)
        return run, (f"{step_name} = 0, 1, 2, …",) if step_name else ()

    def _of_a_class(self, first, takes_model):
        """A class around the model or its parameters, which has the average as an attribute."""
        framework = self.framework

        def made(initial, decay):
            weight = framework.parameter(framework.array(initial))
            watched = framework.container({"weight": weight})
            if not takes_model:
                watched = [weight]
            keeper = self.target(**{first: watched}, **self.settings(decay))
            update = next((getattr(keeper, name) for name in UPDATES if hasattr(keeper, name)), None)
            return weight, watched, keeper, update

        def run(case):
            weight, watched, keeper, update = made(case.arrays["initial"], case.options["decay"])
            taken, averages = parameters_of(update) or {}, []
            step_name = first_named(taken, STEP)
            for count, value in enumerate(case.arrays["weights"], start=1):
                framework.assign(weight, framework.array(value))
                update(*([watched] if required(taken) else []), **({step_name: count} if step_name else {}))
                averages.append(np.array(framework.host(_average_of(keeper, watched))))
            return by_update(averages)

        update = guarding("ema", made)(np.zeros(1), 0.9)[3]
        has_step = first_named(parameters_of(update) or {}, STEP)
        note = f"its update gets {has_step} = 1, 2, 3, …, as in timm's training script"
        return run, (note,) if has_step else ()

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


def _average_of(keeper, watched):
    """The averaged weight, from the first attribute that has one."""
    for name in ATTRIBUTES:
        value = getattr(keeper, name, None)
        if hasattr(value, "named_parameters"):
            if value is not watched:
                return dict(value.named_parameters())["weight"]
        elif isinstance(value, dict) and value:
            return value.get("weight", next(iter(value.values())))
        elif isinstance(value, (list, tuple)) and value:
            return value[0]
    raise InputError(f"ema: found no average in the target; looked for {', '.join(ATTRIBUTES)}")
