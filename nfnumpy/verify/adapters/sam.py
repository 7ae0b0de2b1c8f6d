"""Sharpness-aware minimization in its usual forms: optimizers in place, transformations, and our own.

Two steps on a loss that every framework can compute: Σ log(1 + exp(M·w - t)) + (w·w)²/4, with w all parameters as one
vector. It is smooth, not quadratic, and joins all parameters, which have the shapes and names of a small network's.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import Framework, framework_of
from ..variants.sam import SUFFIXES
from . import RECORDED, Adapter
from .guarded_call import guarded, guarding
from .layer_sam import FIRST, SECOND, STEPS, has_stages, layer_sam
from .sam_functions import SAMFunction
from .signatures import Parameters, Role, bind, first_named, parameters_of, takes_any_keyword, unusable

PARAMETERS = ("params", "parameters", "param_groups", "model_params", "model_parameters")
MODEL = ("model", "module", "net", "network")
BASE = ("base_optimizer", "optimizer", "base_optim", "optim", "inner_optimizer", "base", "opt", "optimizer_cls")
ADVERSARY = ("adv_optimizer", "adversary", "ascent_optimizer")
ROLES = {"rho": Role(("rho", "radius", "sam_rho"), default=0.05, by_any_keyword=True,
                     note="it takes no rho: compared with rho = {value:g}")}
NAMES = ("conv.weight", "conv.gain", "conv.bias", "norm.weight", "block.skip_gain", "head.weight", "head.bias")
FROZEN = "conv.bias"  # in a case of the use "frozen"
EXPECTED = ("an optimizer class (params, base_optimizer, rho=, …) with first_step and second_step or with "
            "step(closure), or (params, lr, rho=, …), a function (model, loss_fn, rho) of a step's two passes, or a "
            "transformation sam(optimizer, adv_optimizer)")


def sam_adapter(target: Any, wish: str, options: Mapping[str, Any]) -> Adapter:
    """The Adapter, with rho, momentum and nesterov fixed where the target has only one value.

    InputError for anything that is no such optimizer. options go to the target; rho is the reference's too.
    """
    framework, parameters = framework_of(target, wish).without_modules, parameters_of(target) or {}
    base, anything = first_named(parameters, BASE), takes_any_keyword(parameters)
    binding = bind(parameters, ROLES, options)
    if framework.has_transformations and base and first_named(parameters, ADVERSARY):
        run = _of_a_transformation(target, framework, base, binding.passed)
        return Adapter(guarding("sam", run), framework, {"rho": first_value(options, ROLES["rho"].names)})
    layers = layer_sam(target, framework, binding.passed, ROLES["rho"]) if framework.has_layers else None
    if layers:
        return Adapter(guarding("sam", layers), framework, binding.fixed, notes=binding.notes)
    function = SAMFunction.of(target, framework, parameters, {"model": MODEL, "parameters": PARAMETERS,
                                                              "optimizer": BASE}, binding.names["rho"], binding.passed)
    if framework.has_modules and function:
        run = functools.partial(function.run, names=NAMES)
        return Adapter(guarding("sam", run), framework, binding.fixed, notes=binding.notes)
    if not framework.has_modules or not callable(target) or not (base or "lr" in parameters):
        raise unusable("sam", target, EXPECTED)
    known = {name: base is not None or anything or name in parameters for name in ("momentum", "nesterov")}
    notes = (*binding.notes, *(f"it takes no {name}: compared without" for name in known if not known[name]))
    fixed = {**binding.fixed, "momentum": None if known["momentum"] else 0.0,
             "nesterov": None if known["nesterov"] and known["momentum"] else False}
    run = _Optimizer(target, framework, parameters, binding.names["rho"], base, binding.passed).run
    lists = first_named(parameters, PARAMETERS) is not None
    left_out = {"plain", *(() if lists else ("generator", "groups")), *(() if _has_both(target) else ("closure",))}
    uses = tuple(use for use in SUFFIXES if use not in left_out)
    return Adapter(guarding("sam", run), framework, fixed, notes=notes, uses=uses)


def _has_both(target):
    """Whether optimizers have two stages, and a step(closure) of their own beside."""
    return has_stages(target) and "closure" in (parameters_of(getattr(target, "step", None)) or {})


def first_value(options: Mapping[str, Any], names: Iterable[str]) -> Any:
    """The first option that is one of `names`, or None."""
    name = first_named(options, names)
    return None if name is None else options[name]


def _flat(arrays):
    return np.concatenate([np.ravel(array) for array in arrays])


def _arranged(leaves, use):
    """The parameters in the form of a use."""
    parameters = list(leaves.values())
    if use == "generator":
        return (parameter for parameter in parameters)
    if use == "groups":
        return [{"params": parameters[:3]}, {"params": parameters[3:]}]
    return parameters


class _Optimizer:
    """A class of optimizers, or of wrappers of optimizers or of their classes."""

    def __init__(self, target: Callable, framework: Framework, parameters: Parameters, rho_name: str | None,
                 base: str | None, options: Mapping[str, Any]):
        self.target, self.framework, self.parameters = target, framework, parameters
        self.rho_name, self.base, self.options = rho_name, base, options

    def run(self, case: Any) -> Mapping[str, np.ndarray]:
        """All weights as one vector: where the second gradient is computed, and after each of two steps."""
        framework, use = self.framework, case.options["use"]
        leaves = {name: framework.parameter(framework.array(case.arrays[name])) for name in NAMES}
        if use == "frozen":
            framework.freeze(leaves[FROZEN])
        mixing, offset = (framework.array(case.arrays[name]) for name in ("mixing", "offset"))
        optimizer = self._make(leaves, case.options, _arranged(leaves, use))
        outputs: dict[str, np.ndarray] = {}

        recorded = True

        def backward():
            nonlocal recorded
            recorded = recorded and framework.is_recording()
            with framework.recording():
                loss = framework.softplus_loss(mixing, offset, list(leaves.values()))
                loss.backward()
            return loss

        def weights():
            return _flat([framework.host(leaf) for leaf in leaves.values()])

        def zero_grad():
            for leaf in leaves.values():
                leaf.grad = None

        for step in range(1, STEPS + 1):
            zero_grad()
            perturbed = _one_step(optimizer, backward, weights, zero_grad, by_closure=use == "closure")
            outputs.setdefault(f"weights after the ascent{SUFFIXES[use]}", perturbed)
            outputs[f"weights after step {step}{SUFFIXES[use]}"] = weights()
            if use == "restored":
                optimizer = self._restored(optimizer, leaves, case.options)
        by_closure = use == "closure" or None in _stages(optimizer)
        return {**({RECORDED: np.asarray(float(recorded))} if by_closure else {}), **outputs}

    def _restored(self, optimizer, leaves, settings):
        """A new optimizer with the state of the old one."""
        if not hasattr(optimizer, "state_dict") or not hasattr(optimizer, "load_state_dict"):
            raise InputError("sam: it has no state_dict and load_state_dict")
        again = self._make(leaves, settings, list(leaves.values()))
        again.load_state_dict(optimizer.state_dict())
        return again

    def _make(self, leaves, settings, listed):
        """The optimizer of these parameters; listed: as the target gets them where it takes no model."""
        given = dict(self.options)
        if self.rho_name is not None:
            given.setdefault(self.rho_name, settings["rho"])
        first, model = first_named(self.parameters, PARAMETERS), first_named(self.parameters, MODEL)
        if first is not None:
            given[first] = listed
        if model is not None and (first is None or self.parameters[model].default is self.parameters[model].empty):
            given[model] = self.framework.container(leaves)
        own = {name: settings[name] for name in ("lr", "momentum", "nesterov")}
        anything = takes_any_keyword(self.parameters)
        if self.base is None:
            own = {name: value for name, value in own.items() if name in self.parameters or anything}
            return self.target(**given, **own)
        if anything:
            try:
                return self.target(**given, **{self.base: self.framework.sgd_class}, **own)
            except (TypeError, AttributeError, KeyError, ValueError):
                pass  # it takes an optimizer and not its class
        return self.target(**given, **{self.base: self.framework.sgd(list(leaves.values()), **own)})


def _stages(optimizer):
    """Its two methods of a step, or None for what it does not have."""
    return tuple(next((getattr(optimizer, name) for name in names if hasattr(optimizer, name)), None)
                 for names in (FIRST, SECOND))


def _one_step(optimizer, backward, weights, zero_grad, by_closure=False):
    """A step of either kind; returns the weights at which the last gradient was computed."""
    first, second = _stages(optimizer)
    backward()
    if first is not None and second is not None and not by_closure:
        _call_stage(first, zero_grad)
        perturbed = weights()
        backward()
        _call_stage(second, zero_grad)
        return perturbed
    seen = []

    def closure():
        zero_grad()
        loss = backward()
        seen.append(weights())
        return loss

    optimizer.step(closure)
    return seen[-1] if seen else weights()


def _call_stage(stage, zero_grad):
    """One of the two steps; gradients are set to zero by it where it can, else after it."""
    if "zero_grad" in (parameters_of(stage) or {}):
        stage(zero_grad=True)
    else:
        stage()
        zero_grad()


def _of_a_transformation(target, framework, base, options):
    """As optax.contrib.sam: every other update is an ascent."""
    adversary = first_named(parameters_of(target), ADVERSARY)

    def run(case):
        settings, outputs = case.options, {}
        mixing, offset = (framework.array(case.arrays[name]) for name in ("mixing", "offset"))
        own = {name: settings[name] for name in ("lr", "momentum", "nesterov")}
        optimizers = {base: framework.sgd_transformation(**own),
                      adversary: framework.normalized_transformation(settings["rho"])}
        transformation = target(**optimizers, **options)
        params = {name: framework.array(case.arrays[name]) for name in NAMES}

        def loss(params):
            return framework.softplus_loss(mixing, offset, [params[name] for name in NAMES])

        state = guarded("sam", transformation.init, params)
        for step in range(1, STEPS + 1):
            for _ in range(2):
                updates, state = transformation.update(framework.gradient(loss, params), state, params)
                params = framework.apply_updates(params, updates)
                weights = _flat([framework.host(params[name]) for name in NAMES])
                outputs.setdefault("weights after the ascent", weights)
            outputs[f"weights after step {step}"] = weights
        return outputs
    return run
