"""Sharpness-aware minimization, in the shapes that it comes in: torch optimizers, optax's sam, and our own.

Two steps on a loss that every framework can compute: Σ log(1 + exp(M·w - t)) + (w·w)²/4, with w all parameters as one
vector. It is smooth, not quadratic, and joins all parameters.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ..frameworks import framework_of
from .asking import answering, first_named, needs, parameters_of, takes_any_keyword
from .calling import asked

PARAMETERS = ("params", "parameters", "param_groups", "model_params", "model_parameters")
MODEL = ("model", "module", "net", "network")
BASE = ("base_optimizer", "optimizer", "base_optim", "optim", "inner_optimizer", "base", "opt", "optimizer_cls")
ADVERSARY = ("adv_optimizer", "adversary", "ascent_optimizer")
RADIUS = ("rho", "radius", "sam_rho")
FIRST, SECOND = ("first_step", "ascent_step", "climb", "ascent"), ("second_step", "descent_step", "descent")
STEPS = 2
NAMES = ("a", "b", "c")
WHAT = ("an optimizer class (params, base_optimizer, rho=, …) with first_step and second_step or with step(closure), "
        "or (params, lr, rho=, …), or optax's sam(optimizer, adv_optimizer)")


@dataclasses.dataclass(frozen=True)
class Asked:
    """How a target is asked; rho, momentum, nesterov: the only value it will do, or None where it takes any."""

    subject: Callable
    framework: Any
    rho: float | None
    momentum: float | None
    nesterov: bool | None
    notes: tuple


def sam_subject(target, wish, options):
    """An `Asked`; InputError for something that is no such optimizer. options go to the target; rho is also told to
    the reference."""
    framework = framework_of(target, wish)
    parameters = parameters_of(target) or {}
    rho_name, base = first_named(parameters, RADIUS), first_named(parameters, BASE)
    anything = takes_any_keyword(parameters)
    rho = next((options[name] for name in options if name in RADIUS), None)
    if rho_name is None and not anything:
        options = {name: value for name, value in options.items() if name not in RADIUS}
    if framework.name == "jax" and base and first_named(parameters, ADVERSARY):
        subject = _transformation(target, framework, base, options)
        return Asked(answering("sam", subject), framework, rho, None, None, ())
    if framework.name != "torch" or not callable(target) or not (base or "lr" in parameters):
        raise needs("sam", target, WHAT)
    notes = []
    if rho_name is None and not anything and rho is None:
        rho = 0.05
        notes.append("it cannot be told rho: compared with rho = 0.05")
    known = {name: base is not None or anything or name in parameters for name in ("momentum", "nesterov")}
    notes += [f"it knows no {name}: asked without" for name in known if not known[name]]
    subject = _optimizer(target, framework, parameters, rho_name or (RADIUS[0] if anything else None), base, options)
    return Asked(answering("sam", subject), framework, rho, None if known["momentum"] else 0.0,
                 None if known["nesterov"] and known["momentum"] else False, tuple(notes))


def _flat(arrays):
    return np.concatenate([np.ravel(array) for array in arrays])


def _optimizer(target, framework, parameters, rho_name, base, options):
    """A torch optimizer, or a wrapper of one's class or of one."""
    torch = framework.torch

    def made(held, module, settings):
        given = dict(options)
        if rho_name is not None and rho_name not in given:
            given[rho_name] = settings["rho"]
        first, model = first_named(parameters, PARAMETERS), first_named(parameters, MODEL)
        if first is not None:
            given[first] = held
        if model is not None and (first is None or parameters[model].default is parameters[model].empty):
            given[model] = module
        own = {name: settings[name] for name in ("lr", "momentum", "nesterov")}
        if base is None:
            anything = takes_any_keyword(parameters)
            return target(**given, **{name: value for name, value in own.items() if name in parameters or anything})
        if takes_any_keyword(parameters):
            try:
                return target(**given, **{base: torch.optim.SGD}, **own)
            except (TypeError, AttributeError, KeyError, ValueError):
                pass  # it wants an optimizer and not its class
        return target(**given, **{base: torch.optim.SGD(held, **own)})

    def subject(problem):
        module = torch.nn.Module()
        for name in NAMES:
            module.register_parameter(name, torch.nn.Parameter(framework.array(problem.arrays[name])))
        held = [getattr(module, name) for name in NAMES]
        mixing, offset = (framework.array(problem.arrays[name]) for name in ("mixing", "offset"))
        optimizer = made(held, module, problem.options)

        def backward():
            flat = torch.cat([parameter.reshape(-1) for parameter in held])
            loss = torch.nn.functional.softplus(mixing @ flat - offset).sum() + 0.25 * (flat @ flat) ** 2
            loss.backward()
            return loss

        def weights():
            return _flat([framework.host(parameter) for parameter in held])

        def forget():
            for parameter in held:
                parameter.grad = None

        answer = {}
        for step in range(1, STEPS + 1):
            forget()
            climbed = _one_step(optimizer, backward, weights, forget)
            if step == 1:
                answer["weights after the ascent"] = climbed
            answer[f"weights after step {step}"] = weights()
        return answer
    return subject


def _one_step(optimizer, backward, weights, forget):
    """A step of either kind; where the last gradient was taken."""
    first, second = (next((getattr(optimizer, name) for name in names if hasattr(optimizer, name)), None)
                     for names in (FIRST, SECOND))
    backward()
    if first is not None and second is not None:
        for stage, way in enumerate((first, second)):
            if "zero_grad" in (parameters_of(way) or {}):
                way(zero_grad=True)
            else:
                way()
                forget()
            if stage == 0:
                climbed = weights()
                backward()
        return climbed
    seen = []

    def closure():
        forget()
        loss = backward()
        seen.append(weights())
        return loss

    optimizer.step(closure)
    return seen[-1] if seen else weights()


def _transformation(target, framework, base, options):
    """optax.contrib.sam: every other update climbs."""
    parameters = parameters_of(target)
    adversary = first_named(parameters, ADVERSARY)

    def subject(problem):
        import optax
        numpy, settings = framework.jax.numpy, problem.options
        mixing, offset = (framework.array(problem.arrays[name]) for name in ("mixing", "offset"))
        transformation = target(**{
            base: optax.sgd(settings["lr"], momentum=settings["momentum"], nesterov=settings["nesterov"]),
            adversary: optax.chain(optax.contrib.normalize(), optax.sgd(settings["rho"]))}, **options)
        params = {name: framework.array(problem.arrays[name]) for name in NAMES}

        def loss(params):
            flat = numpy.concatenate([params[name].reshape(-1) for name in NAMES])
            return framework.jax.nn.softplus(mixing @ flat - offset).sum() + 0.25 * (flat @ flat) ** 2

        state, answer = asked("sam", transformation.init, params), {}
        for step in range(1, STEPS + 1):
            for stage in range(2):
                updates, state = transformation.update(framework.jax.grad(loss)(params), state, params)
                params = optax.apply_updates(params, updates)
                if step == 1 and stage == 0:
                    answer["weights after the ascent"] = _flat([framework.host(params[name]) for name in NAMES])
            answer[f"weights after step {step}"] = _flat([framework.host(params[name]) for name in NAMES])
        return answer
    return subject
