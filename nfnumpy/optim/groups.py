"""Parameter groups: which parameters AGC clips, which weight decay touches, and whose learning rate differs, by name.

Source: Brock et al. (2021b), sections 4 and 4.1, and the authors' released code: the weight of the final linear layer
is not clipped; biases, gains and skip gains are not decayed.

Used by: optimizer.py. Test: reference_tests/optim/test_groups.py.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from ..autograd import Tensor
from ..errors import InputError
from ..functional.checks import shown
from ..nn import Linear, Module
from .checks import is_finite_number

Predicate = Callable[[str], bool]
Factor = Callable[[str], float]
OUR_FINAL_WEIGHT = "linear.weight"  # of every network in models/


def is_decayed(name: str) -> bool:
    """Whether weight decay touches a parameter: weights, not biases, gains and skip gains."""
    return name.rpartition(".")[2] == "weight"


def final_linear_weight(model: Module | Mapping[str, Any]) -> str | None:
    """The name of the weight of a model's final linear layer; None if it has no linear layer.

    Of a Module: the weight of its last `nn.Linear`, in the order of its attributes. Of parameters alone (name -> array
    or Tensor): "linear.weight", as all networks here call it, or else the last parameter with two axes.
    """
    if isinstance(model, Module):
        layers = model.named_modules()
        names = [f"{name}.weight".lstrip(".") for name, module in layers if isinstance(module, Linear)]
    elif OUR_FINAL_WEIGHT in model:
        names = [OUR_FINAL_WEIGHT]
    else:
        names = [name for name, parameter in model.items() if parameter.ndim == 2]
    return names[-1] if names else None


def clipped_by_default(model: Module | Mapping[str, Any]) -> Predicate:
    """The predicate that is true for all parameters but the final linear layer's weight.

    It warns, once for each model, if there is no linear layer: then AGC clips every parameter.
    """
    exempt = final_linear_weight(model)
    if exempt is None:
        rule = "an nn.Linear" if isinstance(model, Module) else "'linear.weight', then the last name with two axes"
        warnings.warn(f"AGC leaves out the weight of the final linear layer, but found none (it looked for {rule}): it "
                      f"clips all parameters; say otherwise with clipped=", stacklevel=4)
    return lambda name: name != exempt


def chosen(predicate: Predicate, names: list[str], what: str) -> set[str]:
    """The names for which `predicate` is true; InputError if it is no function of a name.

    what: its argument's name, after that of the class.
    """
    if not callable(predicate):
        raise InputError(f"{what}={predicate!r}: expected a function of a parameter's name that returns a bool")
    return {name for name in names if predicate(name)}


def learning_rate_factors(factor: Factor | None, names: list[str], caller: str) -> dict[str, float]:
    """name -> what `factor` says that its learning rate is multiplied by; 1 for all if it is None.

    InputError, naming `caller`, if `factor` is no function of a name that returns a number above 0.
    """
    if factor is None:
        return dict.fromkeys(names, 1.0)
    if not callable(factor):
        raise InputError(f"{caller}: lr_factor={shown(factor)}: expected a function of a parameter's name that returns "
                         f"a number")
    factors = {name: factor(name) for name in names}
    for name, value in factors.items():
        if not (is_finite_number(value) and value > 0.0):
            raise InputError(f"{caller}: lr_factor({name!r}) is {shown(value)}: expected a number above 0")
    return {name: float(value) for name, value in factors.items()}


def by_factor(parameters: Mapping[str, Tensor], factors: Mapping[str, float]) -> dict[float, dict[str, Tensor]]:
    """factor -> the `parameters` (name -> Tensor) with that factor, in their order."""
    groups: dict[float, dict[str, Tensor]] = {}
    for name, parameter in parameters.items():
        groups.setdefault(factors[name], {})[name] = parameter
    return groups
