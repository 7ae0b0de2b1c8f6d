"""Whole networks as subjects, whatever they are written in: what `model` needs of them, and which kind a target is.

A subject has `shapes`, {its parameter's name: shape} in order; `outputs_first`, whether its framework has weights OIHW;
`attach(names)`, which is told their name -> ours; and `ask(arrays, images, cotangent_of, dtype)`, which takes
{its parameter's name: array} and images (N, H, W, C) and returns (trace, gradients): {part: array} of the parts that it
can look into, with "logits", and {its parameter's name: gradient}, or None; cotangent_of(logits) is the loss's
derivative. Arrays of the trace lie as they do in the target.
"""

from ...errors import InputError, first_line
from ..frameworks import framework_of
from .asking import parameter_names
from .calling import asked
from .function_models import FunctionModel, TreeModel
from .torch_models import TorchModel


def model_subject(target, wish, config, options):
    """(subject, framework) for "timm:NAME", a torch module, class or factory, an object with init and apply, or a
    function of (parameters, images); InputError when it is none of these.
    """
    if isinstance(target, str):
        target, options = _of_timm(target, options), {}
    framework = framework_of(target, wish)
    if hasattr(target, "init") and hasattr(target, "apply") and framework.name == "jax":
        return TreeModel(target, framework, options), framework
    if framework.name == "torch" and not _is_of_parameters(target):
        module = framework.torch.nn.Module
        if not isinstance(target, module):
            target, options = asked("model", _made, target, config, options), {}
        if not isinstance(target, module):
            raise InputError(f"model: the target made a {type(target).__name__}, expected a torch module")
        return TorchModel(target, framework, options), framework
    if isinstance(target, type):
        target, options = asked("model", _made, target, config, options), {}
        if hasattr(target, "init") and hasattr(target, "apply"):
            return TreeModel(target, framework, options), framework
    if not callable(target):
        raise InputError(f"model: expected timm:NAME, a module or its factory, or a function of (parameters, images), "
                         f"got {target!r}")
    return FunctionModel(target, framework, config, options), framework


def _is_of_parameters(target):
    """Whether a function's first parameter is named as a model's parameters are."""
    names = parameter_names(target)
    return not isinstance(target, type) and len(names) >= 2 and names[0] in (
        "params", "parameters", "state", "weights", "p", "variables", "theta")


def _made(target, config, options):
    """What a class or factory makes, given its configuration if it asks for exactly one thing called so."""
    names = parameter_names(target)
    if names and names[0] in ("config", "cfg", "configuration") and names[0] not in options and config is not None:
        return target(config, **options)
    return target(**options)


def _of_timm(text, options):
    place, _, name = text.partition(":")
    if place != "timm" or not name:
        raise InputError(f"model {text!r}: expected timm:NAME, package.module:attribute or file.py:attribute")
    try:
        import timm
    except Exception as error:
        raise InputError(f"model {text}: timm cannot be imported: {type(error).__name__}: "
                         f"{first_line(error)}") from None
    return asked("model", timm.create_model, name, **{"pretrained": False, **options})
