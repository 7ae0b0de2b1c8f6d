"""Nonlinearities: functions of an array, modules, and factories of either."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..frameworks import Framework, framework_of
from . import Adapter
from .guarded_call import guarded, guarding
from .signatures import cannot_be_made, parameters_of, required, unusable

MOST_FACTORIES = 3  # a factory of factories of modules, as timm's act_with_gamma


def activation_adapter(target: Any, wish: str, options: Mapping[str, Any]) -> Adapter:
    """The Adapter of a function x -> y, a module, its class, or a factory; InputError for anything else.

    options go to the class or factory, or else to the function.
    """
    framework = framework_of(target, wish)
    function, options = _function_of(target, options, framework)

    def run(case):
        x, cotangent = case.arrays["x"], case.arrays["cotangent"]
        in_dtype = framework.in_dtype(function, str(x.dtype))

        def on_a_copy(array):  # some functions work in place
            return in_dtype(array + 0.0, **options)

        output, _ = framework.value_and_vjp(on_a_copy, [framework.array(x)], None)
        if output.ndim != x.ndim or output.shape[-1] > x.shape[-1]:
            return {"output": output}
        cotangent = cotangent[..., :output.shape[-1]]
        output, grads = framework.value_and_vjp(on_a_copy, [framework.array(x)], cotangent)
        if grads is None:
            return {"output": output}
        return {"output": output, "derivative": np.zeros(x.shape) if grads[0] is None else grads[0]}
    return Adapter(guarding("activation", run), framework)


def _function_of(target: Any, options: Mapping[str, Any], framework: Framework) -> tuple[Callable, Mapping[str, Any]]:
    """(a function of an array, the options that it still takes)."""
    for _ in range(MOST_FACTORIES):
        if framework.is_module(target):
            return target, options
        if not callable(target):
            raise unusable("activation", target, "something to call")
        parameters = parameters_of(target)
        options = {**framework.further_arguments(target), **options} if isinstance(target, type) else options
        missing = [name for name in required(parameters) if name not in options]
        if isinstance(target, type) and missing:
            raise cannot_be_made("activation", missing, target.__name__)
        if not isinstance(target, type) and (missing or not _may_be_a_factory(target, parameters)):
            return target, options
        target, options = guarded("activation", framework.made, target, **options), {}
    raise unusable("activation", target, "a function of one array")


def _may_be_a_factory(target, parameters):
    """Whether something that needs no more arguments is a function without any, and not an object to be called."""
    is_function = inspect.isfunction(target) or isinstance(target, functools.partial)
    return is_function and not any(parameter.kind == parameter.VAR_POSITIONAL for parameter in parameters.values())
