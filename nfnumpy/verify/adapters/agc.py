"""Adaptive gradient clipping in its usual forms, distinguished by the names of the parameters.

Functions over parameters, which change .grad in place; functions of a gradient and a parameter; transformations (init,
update) and what makes them; optimizers, and wrappers of optimizers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import Framework, framework_of
from . import Adapter
from .guarded_call import guarded, guarding
from .signatures import (
    Binding,
    Parameters,
    Role,
    bind,
    first_named,
    parameters_of,
    required,
    takes_any_keyword,
    unusable,
)

CLIPPING = ("clipping", "clip_factor", "clip", "clip_ratio", "clipping_factor", "lam", "lambda_", "lmbda", "lamb",
            "factor", "agc_clip", "agc_clipping", "clip_lambda", "clip_val", "clip_value", "threshold")
EPS = ("eps", "epsilon", "agc_eps", "min_norm", "eps_norm")
PARAMETERS = ("parameters", "params", "model_params", "model_parameters", "parameter_list", "named_parameters",
              "named_params", "param_list", "weights", "parms")
MODEL = ("model", "module", "net", "network")
OPTIMIZER = ("optim", "optimizer", "base_optimizer", "inner", "inner_optimizer", "base_optim", "opt")
IGNORED = ("ignore_agc", "ignore", "exclude", "skip", "exclude_layers", "ignore_layers", "ignored", "excluded")
GRADIENTS = ("g", "gs", "dw", "g_data", "dp")  # beside all that begin with "grad" or "update"
NOT_TAKEN = "it takes no {name}: compared with {name} = {value:g}"
ROLES = {"clipping": Role(CLIPPING, default=0.01, note=NOT_TAKEN), "eps": Role(EPS, default=1e-3, note=NOT_TAKEN)}
PLAIN = dict(momentum=0.0, nesterov=False, dampening=0.0)
LARGE_STEP = 2.0**30  # w - lr·g, subtracted from w, is then g to the last bit
EXPECTED = ("a function over parameters whose .grad it changes, a function (grad, param) -> grad, a transformation or "
            "what makes one, an optimizer with clipping, or a wrapper of optimizers")

Run = Callable[[Any], Mapping[str, np.ndarray]]


def clipping_adapter(target: Any, wish: str, options: Mapping[str, Any]) -> Adapter:
    """The Adapter, with clipping and eps fixed where the target has only one value; InputError for any other form.

    options go to the target; clipping and eps (by any name) are the reference's too; final: the name of the last layer;
    layout: OIHW (with weights (out, in)) or HWIO.
    """
    framework, options = framework_of(target, wish), dict(options)
    layout = options.pop("layout", framework.layout)
    if layout not in ("OIHW", "HWIO"):
        raise InputError(f"agc: layout={layout!r}: expected OIHW or HWIO")
    parameters = parameters_of(target) or {}
    final = options.pop("final", None) or _ignored_by_default(parameters)
    binding = bind(parameters, ROLES, options, note_if=lambda given: True)
    run, takes_model = _Clipping(target, parameters, framework, layout, binding, final).run()
    order = "OIHW and (out, in)" if layout == "OIHW" else "HWIO and (in, out)"
    notes = (f"the layout of weights is {order}", *binding.notes)
    if takes_model:
        notes += (f"in the model that the target gets, the last layer is called {final!r}",)
    return Adapter(guarding("agc", run), framework, binding.fixed, takes_model, notes)


def _ignored_by_default(parameters):
    name = first_named(parameters, IGNORED)
    default = parameters[name].default if name else None
    default = default[0] if isinstance(default, (list, tuple)) and default else default
    return default if isinstance(default, str) else "fc"


def _is_gradient(name):
    return name.lower().startswith(("grad", "update")) or name.lower() in GRADIENTS


class _Clipping:
    """A target, and what of it is known."""

    def __init__(self, target: Any, parameters: Parameters, framework: Framework, layout: str, binding: Binding,
                 final: str):
        self.target, self.parameters, self.framework = target, parameters, framework
        self.layout, self.binding, self.final = layout, binding, final

    def run(self) -> tuple[Run, bool]:
        """(the function of an input case, whether the target takes the model)."""
        target, framework, names, wanted = self.target, self.framework, list(self.parameters), required(self.parameters)
        if hasattr(target, "init") and hasattr(target, "update") and not isinstance(target, type):
            return self._of_a_transformation(lambda case: target), False
        if not callable(target) or not names:
            raise unusable("agc", target, EXPECTED)
        if isinstance(target, type) or (first_named(wanted, OPTIMIZER) and first_named(wanted, PARAMETERS)):
            if not framework.has_modules or first_named(names, PARAMETERS + MODEL) is None:
                raise unusable("agc", target, EXPECTED)
            return self._of_an_optimizer, first_named(names, MODEL) is not None
        return self._of_a_function(names, wanted)

    def _of_a_function(self, names, wanted):
        gradient = next((name for name in wanted if _is_gradient(name)), None)
        others = [name for name in wanted if name != gradient and name.lower() not in CLIPPING + EPS]
        if gradient is not None and len(others) == 1:
            return self._of_a_pair(gradient, others[0]), False
        if len(others) == 2 and first_named(others[:1], PARAMETERS + MODEL) is None:
            return self._of_a_pair(*others), False
        if self.framework.has_modules and names[0].lower() in MODEL:
            return self._of_parameters(lambda leaves: self.framework.container(self._paths(leaves))), True
        if self.framework.has_modules and len(others) <= 1:
            named = names[0].lower().startswith("named")
            return self._of_parameters(_named if named else lambda leaves: list(leaves.values())), False
        if self.framework.has_transformations and not others and first_named(names, CLIPPING):
            return self._of_a_transformation(lambda case: self.target(**self._settings(case))), False
        raise unusable("agc", self.target, EXPECTED)

    def _settings(self, case):
        """The keywords that the target is called with."""
        names, options = self.binding.names, self.binding.passed
        known = {names[role]: case.options[role] for role in ROLES if names[role] is not None}
        return {**known, **options}

    def _to_target(self, array):
        """A host array in the target's layout and framework."""
        if self.layout == "OIHW" and array.ndim >= 2:
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        return self.framework.array(np.array(array, order="C"))

    def _from_target(self, array):
        """The reverse."""
        array = self.framework.host(array)
        if self.layout == "OIHW" and array.ndim >= 2:
            return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        return array

    def _pairs(self, case):
        """name -> (the parameter, its gradient) as the target has them."""
        return {name: (self._to_target(array), self._to_target(case.arrays[f"gradient of {name}"]))
                for name, array in case.arrays.items() if not name.startswith("gradient of ")}

    def _leaves(self, case):
        """name -> a trainable parameter with its gradient."""
        return {name: self.framework.parameter(param, grad) for name, (param, grad) in self._pairs(case).items()}

    def _paths(self, leaves):
        """{path in a model: parameter}, with those of the last layer in a submodule called `final`."""
        paths = {}
        for name, parameter in leaves.items():
            layer, _, leaf = name.rpartition(" ")
            layer = self.final if layer == "final" else layer.replace(" ", "_") or f"{leaf}_alone"
            paths[f"{layer}.{leaf}"] = parameter
        return paths

    def _of_a_pair(self, grad_name, param_name):
        """A function of one gradient and one parameter, which returns the clipped gradient or changes it in place."""
        def run(case):
            outputs = {}
            for name, (param, grad) in self._pairs(case).items():
                returned = self.target(**{grad_name: grad, param_name: param}, **self._settings(case))
                outputs[f"clipped gradient of {name}"] = self._from_target(grad if returned is None else returned)
            return outputs
        return run

    def _of_a_transformation(self, make):
        """Functions (init, update), as optax's."""
        def run(case):
            pairs, transformation = self._pairs(case), make(case)
            params = {name: param for name, (param, _) in pairs.items()}
            grads = {name: grad for name, (_, grad) in pairs.items()}
            updates, _ = transformation.update(grads, transformation.init(params), params)
            return {f"clipped gradient of {name}": self._from_target(update) for name, update in updates.items()}
        return run

    def _of_parameters(self, arranged):
        """A function that changes gradients in place; arranged(leaves): its first argument."""
        def run(case):
            leaves = self._leaves(case)
            self.target(arranged(leaves), **self._settings(case))
            return {f"clipped gradient of {name}": self._from_target(leaf.grad) for name, leaf in leaves.items()}
        return run

    def _of_an_optimizer(self, case):
        """An optimizer that clips, or a wrapper around one: the gradients follow from the parameters' changes."""
        outputs = {}
        for weight_decay, suffix in ((0.0, ""), (case.options["weight_decay"], " with weight decay")):
            for name, change in self._changes(case, weight_decay).items():
                outputs[f"clipped gradient of {name}{suffix}"] = change
        return outputs

    def _changes(self, case, weight_decay):
        leaves, settings = self._leaves(case), self._settings(case)
        before = {name: leaf.detach().clone() for name, leaf in leaves.items()}
        wrapped = first_named(self.parameters, OPTIMIZER)
        first, model = first_named(self.parameters, PARAMETERS), first_named(self.parameters, MODEL)
        if wrapped is not None:
            settings[wrapped] = self.framework.sgd(list(leaves.values()), lr=LARGE_STEP, weight_decay=weight_decay)
        else:
            anything = takes_any_keyword(self.parameters)
            known = {**PLAIN, "lr": LARGE_STEP, "weight_decay": weight_decay}
            settings |= {name: value for name, value in known.items() if name in self.parameters or anything}
            if weight_decay and "weight_decay" not in settings:
                return {}
        if first is not None:
            settings[first] = list(leaves.values())
        if model is not None and (case.options["model"] or first is None):
            settings[model] = self.framework.container(self._paths(leaves))
        optimizer = guarded("agc", self.target, **settings)
        optimizer.step()
        return {name: self._from_target((before[name] - leaf.detach()) / LARGE_STEP) for name, leaf in leaves.items()}


def _named(leaves):
    return [(name.replace(" ", "."), parameter) for name, parameter in leaves.items()]
