"""A convolution in evaluation, after its weight was changed as an optimizer's step changes it."""

from typing import Any

import numpy as np

from ..frameworks import Framework, ModuleHandle

OUTPUT, WEIGHT = "output in evaluation", "weight after evaluation"


def after_a_step(weight: Any) -> Any:
    """Another weight of the same shape, whose standardized form is another one, too."""
    return weight * np.linspace(0.5, 1.5, weight.size).reshape(weight.shape).astype(weight.dtype)


def in_evaluation(module: ModuleHandle, framework: Framework, name: str, x: np.ndarray,
                  weight: np.ndarray) -> dict[str, np.ndarray]:
    """The output for x with a new weight, and the weight after it, both in the module's layout; name: its own name."""
    module.load({name: weight}, str(weight.dtype))
    output = framework.host(module.call(x, training=False, with_gradients=False))
    return {OUTPUT: output, WEIGHT: module.value(name)}
