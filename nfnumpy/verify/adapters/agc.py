"""Adaptive gradient clipping in its usual forms, distinguished by the names of the parameters.

Functions over parameters, which change .grad in place; functions of a gradient and a parameter, or of lists of them;
transformations (init, update) and what makes them; optimizers, and wrappers of optimizers; callbacks of trainers.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ...errors import InputError
from ..frameworks import framework_of
from . import Adapter
from .agc_functions import (
    IN_PLACE_USES,
    Run,
    of_a_transformation,
    of_an_optimizer_given,
    of_each_parameter,
    of_pairs,
    of_parameters,
)
from .agc_optimizers import USES, OptimizerRun
from .agc_target import ClippingTarget
from .callbacks import callback_of, of_a_callback
from .guarded_call import guarding
from .layer_clipping import OPTIMIZER, layer_clipping
from .signatures import Binding, Parameters, Role, bind, first_named, parameters_of, required, unusable

CLIPPING = ("clipping", "clip_factor", "clip", "clip_ratio", "clipping_factor", "lam", "lambda_", "lmbda", "lamb",
            "factor", "agc_clip", "agc_clipping", "clip_lambda", "clip_val", "clip_value", "threshold",
            "clipping_threshold", "gradient_clip_val", "agc_clip_factor", "agc_lambda", "agc_clip_val",
            "agc_clip_value", "agc_factor", "agc_threshold", "max_ratio", "value")
EPS = ("eps", "epsilon", "agc_eps", "agc_epsilon", "min_norm", "eps_norm", "weight_eps", "param_eps")
PARAMETERS = ("parameters", "params", "model_params", "model_parameters", "parameter_list", "named_parameters",
              "named_params", "param_list", "weights", "parms", "variables", "tensors")
ONE_PARAMETER = ("param", "parameter", "p", "tensor", "weight", "w", "variable")
MODEL = ("model", "module", "net", "network")
IGNORED = ("ignore_agc", "ignore", "exclude", "skip", "exclude_layers", "ignore_layers", "ignored", "excluded")
GRADIENTS = ("g", "gs", "dw", "g_data", "dp")  # beside all that begin with "grad" or "update"
PLURAL = ("parameters", "params", "weights", "variables", "tensors", "gs", "grads", "gradients", "updates")
NOT_CLIPPING = ("lr", "learning_rate", "momentum", "weight_decay", "dampening", "norm_type", "p", "ord", "beta",
                "decay")
NOT_TAKEN = "it takes no {name}: compared with {name} = {value:g}"
ROLES = {"clipping": Role(CLIPPING, default=0.01, note=NOT_TAKEN), "eps": Role(EPS, default=1e-3, note=NOT_TAKEN)}
EXPECTED = ("a function over parameters whose .grad it changes, a function (grad, param) -> grad or (grads, params) -> "
            "grads, a transformation or what makes one, an optimizer with clipping, a wrapper of optimizers, or a "
            "trainer's callback")


def clipping_adapter(target: Any, wish: str, options: Mapping[str, Any]) -> Adapter:
    """The Adapter, with clipping and eps fixed where the target has only one value; InputError for any other form.

    options go to the target; clipping and eps (by any name) are the reference's too; final: the name of the last layer;
    layout: OIHW (with weights (out, in)) or HWIO; means: {"clipping": a name that is not known}.
    """
    framework, options = framework_of(target, wish).without_modules, dict(options)
    layout = options.pop("layout", framework.layout)
    if layout not in ("OIHW", "HWIO"):
        raise InputError(f"agc: layout={layout!r}: expected OIHW or HWIO")
    parameters = parameters_of(target) or {}
    final = options.pop("final", None) or _ignored_by_default(parameters)
    binding = _bound(dict(sorted(parameters.items(), key=lambda item: not item[0].startswith("agc"))), options)
    known = ClippingTarget(target, parameters, framework, layout, binding, final)
    layers = layer_clipping(known, ROLES) if framework.has_layers else None
    form = _Form(*layers) if layers else _form_of(known)
    order = "OIHW and (out, in)" if layout == "OIHW" else "HWIO and (in, out)"
    notes = (f"the layout of weights is {order}", *binding.notes, *form.notes)
    if form.takes_model:
        notes += (f"in the model that the target gets, the last layer is called {final!r}",)
    return Adapter(guarding("agc", form.run), framework, binding.fixed, form.takes_model, notes, form.uses)


def _bound(parameters: Parameters, options: Mapping[str, Any]) -> Binding:
    """The Binding of clipping and eps, where a name that is not known can only be clipping's."""
    binding = bind(parameters, ROLES, options, note_if=lambda given: True)
    if binding.names["clipping"] is not None or binding.fixed["clipping"] != ROLES["clipping"].default:
        return binding
    candidates = [name for name, parameter in parameters.items() if _may_be_clipping(name, parameter, binding, options)]
    if not candidates:
        return binding
    if len(candidates) > 1:
        raise InputError(f"agc: which of {', '.join(candidates)} is the clipping factor? say --means "
                         f"clipping={candidates[0]}, or which it is")
    name = candidates[0]
    again = bind(parameters, ROLES, {**options, "means": {**options.get("means", {}), "clipping": name}},
                 note_if=lambda given: True)
    note = f"its {name} is taken as the clipping factor; --means clipping=… says otherwise"
    return dataclasses.replace(again, notes=(*again.notes, note))


def _may_be_clipping(name, parameter, binding, options):
    """Whether a parameter of unknown meaning has, or is given, a number between 0 and 1."""
    if name.lower() in NOT_CLIPPING or name in binding.names.values():
        return False
    value = options.get(name, parameter.default)
    return isinstance(value, float) and 0.0 < value < 1.0


def _ignored_by_default(parameters):
    name = first_named(parameters, IGNORED)
    default = parameters[name].default if name else None
    default = default[0] if isinstance(default, (list, tuple)) and default else default
    return default if isinstance(default, str) else "fc"


def _is_gradient(name):
    return name.lower().startswith(("grad", "update")) or name.lower() in GRADIENTS


@dataclasses.dataclass(frozen=True)
class _Form:
    """takes_model: whether the target gets a whole model; uses: how else than once it can be used; notes: for the
    report.
    """

    run: Run
    takes_model: bool = False
    uses: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _form_of(known: ClippingTarget) -> _Form:
    """How the target is called, from its type and the names of its parameters."""
    target, names, wanted = known.target, list(known.parameters), required(known.parameters)
    if hasattr(target, "init") and hasattr(target, "update") and not isinstance(target, type):
        return _Form(of_a_transformation(known, lambda case: target), uses=("second",))
    callback = callback_of(target) if known.framework.has_modules else None
    if callback is not None:
        return _Form(of_a_callback(known, callback), takes_model=True, uses=("frozen", "second", "accumulated"))
    if not callable(target) or not names:
        raise unusable("agc", target, EXPECTED)
    if isinstance(target, type) or (first_named(wanted, OPTIMIZER) and first_named(wanted, PARAMETERS)):
        return _form_of_an_optimizer(known, names)
    return _form_of_a_function(known, names, wanted)


def _form_of_an_optimizer(known, names):
    parameters, model, optimizer = (first_named(names, known_names) for known_names in (PARAMETERS, MODEL, OPTIMIZER))
    if not known.framework.has_modules or not (parameters or model or optimizer):
        raise unusable("agc", known.target, EXPECTED)
    uses = USES if parameters or not model else tuple(use for use in USES if use not in ("generator", "groups"))
    run = OptimizerRun(known, parameters, model, optimizer)
    return _Form(run, model is not None, uses, run.notes)


def _form_of_a_function(known, names, wanted):
    framework, settled = known.framework, {*known.binding.names.values(), *known.binding.passed}
    gradient = next((name for name in wanted if _is_gradient(name)), None)
    others = [name for name in wanted if name != gradient and name not in settled]
    if gradient is None and len(others) == 2 and first_named(others[:1], PARAMETERS + MODEL) is None:
        gradient, *others = others
    if gradient is not None and len(others) == 1:
        plural = bool({gradient.lower(), others[0].lower()} & set(PLURAL))
        return _Form(of_pairs(known, gradient, others[0], plural))
    if framework.has_modules and len(others) <= 1:
        return _form_in_place(known, names[0].lower())
    if framework.has_transformations and not others and first_named(names, CLIPPING):
        return _Form(of_a_transformation(known, lambda case: known.target(**known.settings(case))), uses=("second",))
    raise unusable("agc", known.target, EXPECTED)


def _form_in_place(known, first):
    if first in MODEL:
        return _Form(of_parameters(known, known.model), takes_model=True, uses=("frozen", "second"))
    if first in OPTIMIZER:
        return _Form(of_an_optimizer_given(known), uses=("frozen",))
    if first in ONE_PARAMETER:
        return _Form(of_each_parameter(known), uses=("second",))
    if first.startswith("named"):
        return _Form(of_parameters(known, _named), uses=IN_PLACE_USES)
    return _Form(of_parameters(known, lambda leaves: list(leaves.values())), uses=IN_PLACE_USES)


def _named(leaves):
    return [(name.replace(" ", "."), parameter) for name, parameter in leaves.items()]
