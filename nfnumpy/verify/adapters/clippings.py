"""Adaptive gradient clipping, in the shapes that it comes in.

Functions over parameters, which change .grad in place; functions of a gradient and a parameter; optax transformations
and what makes them; optimizers, and wrappers of optimizers. Which one it is, the names of the parameters tell.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import framework_of
from .asking import answering, first_named, needs, parameters_of, required, takes_any_keyword
from .calling import asked

CLIPPING = ("clipping", "clip_factor", "clip", "clip_ratio", "clipping_factor", "lam", "lambda_", "lmbda", "lamb",
            "factor", "agc_clip", "agc_clipping", "clip_lambda", "clip_val", "clip_value", "threshold")
EPS = ("eps", "epsilon", "agc_eps", "min_norm", "eps_norm")
PARAMETERS = ("parameters", "params", "model_params", "model_parameters", "parameter_list", "named_parameters",
              "named_params", "param_list", "weights", "parms")
MODEL = ("model", "module", "net", "network")
OPTIMIZER = ("optim", "optimizer", "base_optimizer", "inner", "inner_optimizer", "base_optim", "opt")
IGNORED = ("ignore_agc", "ignore", "exclude", "skip", "exclude_layers", "ignore_layers", "ignored", "excluded")
PLAIN = dict(momentum=0.0, nesterov=False, dampening=0.0)
LARGE_STEP = 2.0**30  # so that w - lr·g, taken from w, is g to the last bit

WHAT = ("a function over parameters whose .grad it changes, a function (grad, param) -> grad, an optax transformation "
        "or what makes one, an optimizer with clipping, or a wrapper of optimizers")


@dataclasses.dataclass(frozen=True)
class Asked:
    """How a target is asked: the subject, its framework, what it cannot be told, and what else is known.

    clipping, eps: the only value it will do, or None where it takes any; model: whether it wants to know the model, and
    so which layer is the last.
    """

    subject: Callable
    framework: Any
    clipping: float | None
    eps: float | None
    model: bool
    notes: tuple


def clipping_subject(target, wish, options):
    """An `Asked`; InputError for something that clips in no way that is known here.

    options go to the target; clipping, eps (by any name) say also what the reference is to use; final: what the last
    layer is called; layout: OIHW (torch's) or HWIO.
    """
    framework = framework_of(target, wish)
    layout = options.pop("layout", "OIHW" if framework.name == "torch" else "HWIO")
    if layout not in ("OIHW", "HWIO"):
        raise InputError(f"agc: layout={layout!r}: expected OIHW or HWIO")
    parameters = parameters_of(target) or {}
    clip_name, eps_name = (first_named(parameters, names) for names in (CLIPPING, EPS))
    fixed = {"clipping": _given(options, CLIPPING, parameters), "eps": _given(options, EPS, parameters)}
    final = options.pop("final", None) or _ignored_by_default(parameters)
    speaker = _Speaker(framework, layout, options, clip_name, eps_name)
    ask, model = _way_of_asking(target, parameters, speaker, final)
    if clip_name is None and fixed["clipping"] is None:
        fixed["clipping"] = 0.01
    if eps_name is None and fixed["eps"] is None:
        fixed["eps"] = 1e-3
    notes = [f"weights are taken to be {layout}" + (" and (out, in)" if layout == "OIHW" else " and (in, out)")]
    notes += [f"it cannot be told {name}: compared with {name} = {fixed[name]:g}"
              for name, known in (("clipping", clip_name), ("eps", eps_name)) if known is None]
    notes += [f"the last layer is called {final!r} when the target asks for the model"] if model else []
    return Asked(answering("agc", ask), framework, fixed["clipping"], fixed["eps"], model, tuple(notes))


def _given(options, names, parameters):
    """What the options say of one of `names`; an option that the target does not take is for the reference only."""
    name = first_named(options, names)
    if name is None:
        return None
    return options[name] if name in parameters or takes_any_keyword(parameters) else options.pop(name)


def _ignored_by_default(parameters):
    name = first_named(parameters, IGNORED)
    default = parameters[name].default if name else None
    default = default[0] if isinstance(default, (list, tuple)) and default else default
    return default if isinstance(default, str) else "fc"


def _way_of_asking(target, parameters, speaker, final):
    """(the subject, whether it wants to know the model)."""
    names = list(parameters)
    wanted = required(parameters)
    if hasattr(target, "init") and hasattr(target, "update") and not isinstance(target, type):
        return speaker.transformation(lambda problem: target), False
    if not callable(target) or not names:
        raise needs("agc", target, WHAT)
    if isinstance(target, type) or first_named(wanted, OPTIMIZER) and first_named(wanted, PARAMETERS):
        if speaker.framework.name != "torch" or first_named(names, PARAMETERS + MODEL) is None:
            raise needs("agc", target, WHAT)
        model = first_named(names, MODEL)
        return speaker.optimizer(target, parameters, final), model is not None
    grads = next((name for name in wanted if _is_gradient(name)), None)
    others = [name for name in wanted if name != grads and name.lower() not in CLIPPING + EPS]
    if grads is not None and len(others) == 1:
        return speaker.pair(target, grads, others[0]), False
    if len(others) == 2 and first_named(others[:1], PARAMETERS + MODEL) is None:
        return speaker.pair(target, others[0], others[1]), False
    if speaker.framework.name == "torch" and names[0].lower() in MODEL:
        return speaker.in_place(target, final, whole_model=True), True
    if speaker.framework.name == "torch" and len(others) <= 1:
        return speaker.in_place(target, final, named=names[0].lower().startswith("named")), False
    if speaker.framework.name == "jax" and not others and first_named(names, CLIPPING):
        return speaker.transformation(lambda problem: target(**speaker.settings(problem))), False
    raise needs("agc", target, WHAT)


def _is_gradient(name):
    return name.lower().startswith(("grad", "update")) or name.lower() in ("g", "gs", "dw", "g_data", "dp")


class _Speaker:
    """Speaks to targets in their framework, layout and names; every method returns a subject."""

    def __init__(self, framework, layout, options, clip_name, eps_name):
        self.framework, self.layout, self.options = framework, layout, options
        self.clip_name, self.eps_name = clip_name, eps_name

    def settings(self, problem):
        """The keywords that the target is called with."""
        said = {self.clip_name: problem.options["clipping"], self.eps_name: problem.options["eps"]}
        return {**{name: value for name, value in said.items() if name is not None}, **self.options}

    def there(self, array):
        """A NumPy array as the target's layout has it."""
        if self.layout == "HWIO" or array.ndim < 2:
            return np.array(array)
        return np.array(array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T, order="C")

    def back(self, array):
        """The reverse of `there`."""
        if self.layout == "HWIO" or array.ndim < 2:
            return array
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T

    def pairs(self, problem):
        """name -> (the parameter, its gradient), in the target's layout and framework."""
        def spoken(key):
            return self.framework.array(self.there(problem.arrays[key]))
        return {name: (spoken(name), spoken(f"gradient of {name}")) for name in problem.arrays
                if not name.startswith("gradient of ")}

    def host(self, array):
        """What came out of the target, as the reference has it."""
        return self.back(self.framework.host(array))

    def pair(self, target, grad_name, param_name):
        """A function of one gradient and one parameter, which returns the clipped gradient or changes it in place."""
        def subject(problem):
            answer = {}
            for name, (param, grad) in self.pairs(problem).items():
                returned = target(**{grad_name: grad, param_name: param}, **self.settings(problem))
                answer[f"clipped gradient of {name}"] = self.host(grad if returned is None else returned)
            return answer
        return subject

    def transformation(self, make):
        """An optax GradientTransformation."""
        def subject(problem):
            pairs, transformation = self.pairs(problem), make(problem)
            params = {name: param for name, (param, _) in pairs.items()}
            updates, _ = transformation.update({name: grad for name, (_, grad) in pairs.items()},
                                               transformation.init(params), params)
            return {f"clipped gradient of {name}": self.host(update) for name, update in updates.items()}
        return subject

    def parameters(self, problem):
        """name -> torch Parameter with its .grad."""
        torch, held = self.framework.torch, {}
        for name, (param, grad) in self.pairs(problem).items():
            held[name] = torch.nn.Parameter(param)
            held[name].grad = grad
        return held

    def model(self, held, final):
        """A torch module that holds the parameters, those of the last layer in a submodule called `final`."""
        torch = self.framework.torch
        model, layers = torch.nn.Module(), {}
        for name, parameter in held.items():
            layer, _, attribute = name.rpartition(" ")
            layer = final if layer == "final" else layer.replace(" ", "_") or f"{attribute}_alone"
            if layer not in layers:
                layers[layer] = torch.nn.Module()
                model.add_module(layer, layers[layer])
            layers[layer].register_parameter(attribute, parameter)
        return model

    def in_place(self, target, final, named=False, whole_model=False):
        """A function over parameters, named parameters or a model."""
        def subject(problem):
            held = self.parameters(problem)
            given = list(held.values())
            if whole_model:
                given = self.model(held, final)
            elif named:
                given = [(name.replace(" ", "."), parameter) for name, parameter in held.items()]
            target(given, **self.settings(problem))
            return {f"clipped gradient of {name}": self.host(parameter.grad) for name, parameter in held.items()}
        return subject

    def optimizer(self, target, parameters, final):
        """An optimizer that clips, or a wrapper around one: asked by how far it moves the parameters."""
        return lambda problem: {**self._moved(target, parameters, problem, final, 0.0, "clipped gradient of {}"),
                                **self._moved(target, parameters, problem, final, problem.options["weight_decay"],
                                              "clipped gradient of {} with weight decay")}

    def _moved(self, target, parameters, problem, final, weight_decay, name_of):
        torch, held = self.framework.torch, self.parameters(problem)
        before = {name: parameter.detach().clone() for name, parameter in held.items()}
        settings, given = self.settings(problem), list(held.values())
        wrapped = first_named(parameters, OPTIMIZER)
        first, model = first_named(parameters, PARAMETERS), first_named(parameters, MODEL)
        if wrapped is not None:
            settings[wrapped] = torch.optim.SGD(given, lr=LARGE_STEP, weight_decay=weight_decay)
        else:
            anything = takes_any_keyword(parameters)
            known = {**PLAIN, "lr": LARGE_STEP, "weight_decay": weight_decay}
            settings |= {name: value for name, value in known.items() if name in parameters or anything}
            if weight_decay and "weight_decay" not in settings:
                return {}
        if first is not None:
            settings[first] = given
        if model is not None and (problem.options["model"] or first is None):
            settings[model] = self.model(held, final)
        optimizer = asked("agc", target, **settings)
        optimizer.step()
        return {name_of.format(name): self.host((before[name] - parameter.detach()) / LARGE_STEP)
                for name, parameter in held.items()}
