"""Bare functions of a weight, and of a gain if they take one; else their result is multiplied by the gain."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..frameworks import Framework
from . import Adapter
from .guarded_call import guarding
from .signatures import parameters_of, required

TO_OIHW, TO_HWIO = (3, 2, 0, 1), (2, 3, 1, 0)


def function_adapter(target: Callable, framework: Framework, layout: str, options: Mapping[str, Any]) -> Adapter:
    """The Adapter of `standardize(weight)` or `(weight, gain)`, whose gradients are compared where there are any."""
    wanted = [name for name in required(parameters_of(target)) if name not in options]
    count = max(1, min(2, len(wanted)))

    def run(case):
        weight, gain = case.arrays["weight"], case.arrays["gain"]
        arguments = [_to(layout, weight), gain.reshape(-1, 1, 1, 1) if layout == "OIHW" else gain][:count]
        cotangent = np.resize(case.arrays["cotangent"], weight.shape) * (gain if count == 1 else 1.0)

        def cotangent_of(value):
            """Of a value of another shape there is none to compare."""
            given = _to(layout, cotangent)
            return given if value.shape == given.shape else np.zeros(value.shape)

        value, grads = framework.value_and_vjp(
            lambda *arrays: target(*arrays, **options), [framework.array(array) for array in arguments], cotangent_of)
        value = _from(layout, value)
        outputs = {"standardized weight": value * gain if count == 1 else value}
        for name, argument, grad in zip(("weight", "gain"), arguments, grads or (), strict=False):
            grad = np.zeros(argument.shape) if grad is None else grad
            outputs[f"gradient of {name}"] = _from(layout, grad) if name == "weight" else grad.reshape(-1)
        return outputs

    return Adapter(guarding("ws_conv", run), framework, {"is_function": True},
                   notes=(f"the layout of the weight is {layout}",))


def _to(layout, weight):
    return np.ascontiguousarray(weight.transpose(TO_OIHW)) if layout == "OIHW" else weight


def _from(layout, array):
    return array.transpose(TO_HWIO) if layout == "OIHW" and array.ndim == 4 else array
