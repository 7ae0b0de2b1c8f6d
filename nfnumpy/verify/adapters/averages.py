"""Moving averages of weights: torch classes around a model or parameters, functions of one update, optax."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ...autograd import Tensor
from ...errors import InputError
from ...optim import ExponentialMovingAverage
from ..frameworks import framework_of
from .asking import answering, first_named, needs, parameters_of, required, takes_any_keyword

DECAY = ("decay", "beta", "ema_decay", "momentum", "alpha", "mu", "ema_rate", "max_decay")
SHARE = ("step_size", "tau", "rate")  # 1 - decay
STEP = ("step", "t", "count", "num_updates", "n", "iteration", "updates_done", "steps")
MODEL = ("model", "module", "net", "network")
PARAMETERS = ("parameters", "params", "model_params", "model_parameters")
AVERAGE = ("average", "avg", "ema", "old", "old_tensors", "shadow", "target", "ema_params", "averaged", "old_params",
           "ema_value", "averages", "avg_params", "ema_weights", "mean", "running", "averaged_model_parameter", "a")
HELD = ("module", "ema", "ema_model", "model", "averaged_model", "shadow_params", "shadow", "average", "averages",
        "ema_params", "averaged", "avg_params", "params")
APART = 3  # updates
WHAT = ("a class (model, decay=) or (parameters, decay=) with update, a function (average, value, step or decay) -> "
        "average, or what makes an optax transformation (decay, …)")


@dataclasses.dataclass(frozen=True)
class Asked:
    """How a target is asked; decay: the only one it will do, or None where it takes any."""

    subject: Callable
    framework: Any
    decay: float | None
    notes: tuple


def average_subject(target, wish, options):
    """An `Asked`; InputError for something that averages in no way known here.

    options go to the target; decay is told to the reference too.
    """
    framework = framework_of(target, wish)
    parameters = parameters_of(target) or {}
    decay_name = first_named(parameters, DECAY + SHARE)
    given = first_named(options, DECAY)
    decay = options[given] if given else None
    if given and given not in parameters and not takes_any_keyword(parameters):
        options = {name: value for name, value in options.items() if name != given}
    notes = []
    if not callable(target):
        raise needs("ema", target, WHAT)
    if decay is None and decay_name is None and not takes_any_keyword(parameters):
        raise InputError("ema: the target takes no decay; say which one it has: --option decay=…")
    if target is ExponentialMovingAverage:
        ask = ours
    else:
        ask = _way_of_asking(target, parameters, framework, decay_name, options, notes)
    return Asked(answering("ema", ask), framework, decay, tuple(notes))


def by_update(averages):
    """The averages after every update, by name: the first three apart, the later ones together."""
    first = {f"average after update {count}": average for count, average in enumerate(averages[:APART], start=1)}
    return {**first, "averages after later updates": np.stack(averages[APART:])} if averages[APART:] else first


def ours(problem):
    """What nfnumpy's own says."""
    tensor, averages = Tensor(np.asarray(problem.arrays["initial"]), requires_grad=True), []
    keeper = ExponentialMovingAverage({"weight": tensor}, decay=problem.options["decay"])
    for weight in problem.arrays["weights"]:
        tensor.data = np.asarray(weight)
        keeper.update()
        averages.append(keeper.average["weight"])
    return by_update(averages)


def _way_of_asking(target, parameters, framework, decay_name, options, notes):
    names = list(parameters)
    model, params = (first_named(names[:1], known) for known in (MODEL, PARAMETERS))
    average = first_named(names, AVERAGE)
    if average is not None and len(required(parameters)) >= 2 and not isinstance(target, type):
        return _function(target, parameters, framework, average, decay_name, options, notes)
    if framework.name == "torch" and (model or params):
        return _class(target, framework, model or params, model is not None, decay_name, options, notes)
    if framework.name == "jax" and decay_name and set(required(parameters)) <= {decay_name}:
        notes.append("it starts from nothing: it is not told the weights before the first update")
        return _transformation(target, framework, decay_name, options)
    raise needs("ema", target, WHAT)


def _settings(decay_name, problem, options):
    if decay_name is None or decay_name in options:
        return dict(options)
    decay = problem.options["decay"]
    return {decay_name: 1.0 - decay if decay_name.lower() in SHARE else decay, **options}


def _function(target, parameters, framework, average_name, decay_name, options, notes):
    """One update: (average, value[, decay][, step]) -> average, or the average changed in place."""
    step_name = first_named(parameters, STEP)
    value_name = next((name for name in required(parameters)
                       if name not in (average_name, decay_name, step_name, *options)), None)
    if value_name is None:
        raise needs("ema", target, WHAT)
    warmed_up = step_name is None and decay_name is not None and decay_name not in options
    if warmed_up:
        notes.append(f"it is handed the warmed-up {decay_name} of every update: the warm-up is its caller's")
    elif step_name:
        notes.append(f"{step_name} = 0, 1, 2, …")

    def subject(problem):
        average, averages = framework.array(problem.arrays["initial"]), []
        for count, weight in enumerate(problem.arrays["weights"]):
            settings = _settings(decay_name, problem, options)
            if warmed_up:
                decay = min(problem.options["decay"], (1 + count) / (10 + count))
                settings[decay_name] = 1.0 - decay if decay_name.lower() in SHARE else decay
            if step_name:
                settings[step_name] = count
            returned = target(**{average_name: average, value_name: framework.array(weight)}, **settings)
            average = average if returned is None else returned
            averages.append(np.array(framework.host(average)))
        return by_update(averages)
    return subject


def _class(target, framework, first, wants_model, decay_name, options, notes):
    """A torch class that is told of the model or its parameters, and holds the average."""
    torch = framework.torch

    def subject(problem):
        module = torch.nn.Module()
        module.weight = torch.nn.Parameter(framework.array(problem.arrays["initial"]))
        if wants_model:
            module.register_buffer("statistic", torch.zeros(1, dtype=module.weight.dtype))
        watched = module if wants_model else [module.weight]
        keeper = target(**{first: watched}, **_settings(decay_name, problem, options))
        update = next((getattr(keeper, name) for name in ("update_parameters", "update", "step", "__call__")
                       if hasattr(keeper, name)), None)
        told = parameters_of(update) or {}
        step_name, averages = first_named(told, STEP), []
        for count, weight in enumerate(problem.arrays["weights"], start=1):
            with torch.no_grad():
                module.weight.copy_(framework.array(weight))
            given = {step_name: count} if step_name else {}
            if required(told):
                update(watched, **given)
            else:
                update(**given)
            averages.append(np.array(framework.host(_held(keeper, module))))
        if step_name and _STEPS not in notes:
            notes.append(_STEPS)
        return by_update(averages)
    return subject


_STEPS = "its update is told step = 1, 2, 3, …, as timm's training script does"


def _held(keeper, module):
    """The averaged weight, wherever it is kept."""
    for name in HELD:
        held = getattr(keeper, name, None)
        if isinstance(held, type(module)) or hasattr(held, "named_parameters"):
            if held is not module:
                return dict(held.named_parameters())["weight"]
        elif isinstance(held, dict) and held:
            return held.get("weight", next(iter(held.values())))
        elif isinstance(held, (list, tuple)) and held:
            return held[0]
    raise InputError(f"ema: found no average in the target; looked for {', '.join(HELD)}")


def _transformation(target, framework, decay_name, options):
    """optax.ema, fed with weights in place of updates."""
    def subject(problem):
        transformation, averages = target(**_settings(decay_name, problem, options)), []
        state = transformation.init(framework.array(problem.arrays["initial"]))
        for weight in problem.arrays["weights"]:
            average, state = transformation.update(framework.array(weight), state)
            averages.append(framework.host(average))
        return by_update(averages)
    return subject
