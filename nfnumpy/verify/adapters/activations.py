"""Nonlinearities: functions of an array, modules, and factories of either."""

import functools
import inspect

from ...errors import InputError
from ..frameworks import framework_of
from .asking import answering, needs, parameters_of, required
from .calling import asked

MOST_FACTORIES = 3  # a factory of factories of modules, as timm's act_with_gamma


def activation_subject(target, wish, options):
    """(subject, framework) for a function x -> y, a module, its class, or a factory; InputError for anything else.

    options go to the class or factory, or else to the function.
    """
    framework = framework_of(target, wish)
    function, options = _made(target, options)

    def subject(problem):
        x, cotangent = (problem.arrays[name] for name in ("x", "cotangent"))
        if framework.name == "torch" and isinstance(function, framework.torch.nn.Module):
            function.to(getattr(framework.torch, str(x.dtype)))

        def on_a_copy(array):  # because some work in place
            return function(array + 0.0, **options)

        output, _ = framework.value_and_vjp(on_a_copy, [framework.array(x)], None)
        if output.ndim != x.ndim or output.shape[-1] > x.shape[-1]:
            return {"output": output}
        cotangent = cotangent[..., :output.shape[-1]]
        output, grads = framework.value_and_vjp(on_a_copy, [framework.array(x)], cotangent)
        return {"output": output} if grads is None or grads[0] is None else {"output": output, "derivative": grads[0]}
    return answering("activation", subject), framework


def _made(target, options):
    """(a function of an array, the options it still wants)."""
    for _ in range(MOST_FACTORIES):
        if not callable(target):
            raise needs("activation", target, "something to call")
        parameters = parameters_of(target)
        missing = [name for name in required(parameters) if name not in options]
        if isinstance(target, type) and missing:
            raise InputError(f"activation: {target.__name__} cannot be made without {', '.join(missing)}: give "
                             + " ".join(f"--option {name}=…" for name in missing))
        if not isinstance(target, type) and (missing or not _may_be_a_factory(target, parameters)):
            return target, options
        target, options = asked("activation", target, **options), {}
    raise needs("activation", target, "a function of one array")


def _may_be_a_factory(target, parameters):
    """Whether something that needs no more arguments is a function without any, and not an object to be called."""
    return (inspect.isfunction(target) or isinstance(target, functools.partial)) and not any(
        parameter.kind == parameter.VAR_POSITIONAL for parameter in parameters.values())
