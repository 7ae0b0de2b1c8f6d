"""Whole networks, in any framework.

A network target has `shapes`, {its parameter's name: shape} in order; `outputs_first` and `channels_first`, whether its
weights are OIHW and its images NCHW; `places`, {part of ours: path of the target's module}, where it has modules;
`attach(names)`, which gets their name -> ours; `run(arrays, images, cotangent_of, dtype)`, which takes {its parameter's
name: array} and images (N, H, W, C) and returns (trace, gradients): {part: array} of the parts that can be observed,
with "logits", and {its parameter's name: gradient}, or None; cotangent_of(logits) is the loss's derivative; and, where
`can_train`, `run_in_training`. Arrays of the trace are in the target's layout.
"""

import functools
from collections.abc import Mapping
from typing import Any

from ...errors import InputError, first_line
from ..frameworks import Framework, framework_of
from .function_models import FunctionModel, TreeModel
from .guarded_call import guarded
from .layer_factories import builds_layers
from .module_models import ModuleModel
from .signatures import parameter_names, parameters_of, required

PARAMETERS = ("params", "parameters", "state", "weights", "p", "variables", "theta")


def network_target(target: Any, wish: str, config: Any,
                   options: Mapping[str, Any]) -> tuple[ModuleModel | FunctionModel | TreeModel, Framework]:
    """(the network target, its framework) of "timm:NAME", a module, class or factory, an object with init and apply, or
    a function of (parameters, images); InputError for anything else.
    """
    if isinstance(target, str):
        target, options = _of_timm(target, options), {}
    framework = framework_of(target, wish)
    if wish == "auto" and not framework.has_modules and _needs_nothing(target, options):
        made = guarded("model", _made, framework, target, config, options)
        target, options, framework = made, {}, framework_of(made)
    if _is_tree_model(target, framework):
        return TreeModel(target, framework, options), framework
    if framework.has_modules and not _is_of_parameters(target):
        if framework.has_layers and not framework.is_module(target) and builds_layers(target):
            function = functools.partial(target, **options)
            target, options = guarded("model", framework.built, function, (None, None, 3)), {}
        if not framework.is_module(target):
            target, options = guarded("model", _made, framework, target, config, options), {}
            if _is_tree_model(target, framework):
                return TreeModel(target, framework, options), framework
        if not framework.is_module(target):
            raise InputError(f"model: the target made a {type(target).__name__}, expected a module")
        return ModuleModel(target, framework, options), framework
    if isinstance(target, type):
        target, options = guarded("model", _made, framework, target, config, options), {}
        if _is_tree_model(target, framework):
            return TreeModel(target, framework, options), framework
    if not callable(target):
        raise InputError(f"model: expected timm:NAME, a module or its factory, or a function of (parameters, images), "
                         f"got {target!r}")
    return FunctionModel(target, framework, config, options), framework


def _needs_nothing(target, options):
    """Whether a function can only be what makes a network, of whichever framework: it needs no argument."""
    is_function = callable(target) and not isinstance(target, type) and parameters_of(target) is not None
    return is_function and not hasattr(target, "apply") and not set(required(parameters_of(target))) - options.keys()


def _is_tree_model(target, framework):
    """Whether an object that is no module of a library known here has init and apply."""
    if not framework.has_transformations or isinstance(target, type) or framework.is_module(target):
        return False
    return hasattr(target, "init") and hasattr(target, "apply")


def _is_of_parameters(target):
    """Whether the first of a function's arguments that must be given is named as a model's parameters are."""
    names = required(parameters_of(target))
    return not isinstance(target, type) and len(names) >= 2 and names[0] in PARAMETERS


def _made(framework, target, config, options):
    """The instance of a class or factory, with the configuration if that is its first parameter."""
    names, options = parameter_names(target), {**framework.further_arguments(target), **options}
    if names and names[0] in ("config", "cfg", "configuration") and names[0] not in options and config is not None:
        return framework.made(target, config, **options)
    return framework.made(target, **options)


def _of_timm(text, options):
    package, _, name = text.partition(":")
    if package != "timm" or not name:
        raise InputError(f"model {text!r}: expected timm:NAME, package.module:attribute or file.py:attribute")
    try:
        import timm
    except Exception as error:
        raise InputError(f"model {text}: timm cannot be imported: {type(error).__name__}: "
                         f"{first_line(error)}") from None
    return guarded("model", timm.create_model, name, **{"pretrained": False, **options})
