"""Moving averages of weights for TensorFlow and Keras: callbacks, classes around a model or its variables, and objects
with `apply` and `average`, as tf.train.ExponentialMovingAverage.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from .ema_classes import WATCHED, by_update, parts_of
from .layer_clipping import MODEL, VARIABLES
from .layer_factories import all_parameters
from .signatures import cannot_be_made, first_named, parameter_names, required

UPDATES = ("on_train_batch_end", "on_batch_end", "update", "update_weights", "update_parameters", "step", "apply",
           "__call__")
COUNTS = ("num_updates", "step", "steps", "t", "count", "iteration", "batch")

KERAS_NAMES = {"conv.weight": "conv.kernel", "norm.weight": "norm.gamma"}

Run = Callable[[Any], dict[str, np.ndarray]]


def layer_averages(target: Any, framework: Any, settings_for: Callable[[float], Mapping[str, Any]],
                   decay_name: str | None) -> Run | None:
    """The run of an input case, averages after every update and the watched weights, or None for no class of these
    forms.
    """
    if not isinstance(target, type) or not any(hasattr(target, name) for name in UPDATES[:-1]):
        return None
    parameters = all_parameters(target)
    first = first_named(list(parameters)[:1], (*MODEL, *VARIABLES))
    needed = [name for name in required(parameters) if name not in (decay_name, first)]
    if needed:
        raise cannot_be_made("ema", needed)

    def run(case):
        arrays = {KERAS_NAMES.get(name, name): part for name, part in parts_of(case.arrays["initial"]).items()}
        network, weights = framework.network_of(arrays, framework.product_with(list(arrays.values())))
        variables = [framework.own(variable) for variable in weights.variables.values()]
        watched = list(variables) if first in VARIABLES else network
        keeper = target(**({first: watched} if first else {}), **settings_for(case.options["decay"]))
        update = _update_of(keeper, network, variables)
        averages = []
        for count, value in enumerate(case.arrays["weights"]):
            for variable, part in zip(variables, parts_of(value).values(), strict=True):
                framework.assign(variable, framework.array(part))
            update(count)
            averages.append(_flat(_averages(keeper, network, variables, framework), framework))
        return {**by_update(averages), WATCHED: _flat(variables, framework)}
    return run


def _update_of(keeper: Any, network: Any, variables: list[Any]) -> Callable[[int], Any]:
    """The function of the number of the update, from 0, that changes the average; the start is made here."""
    if hasattr(keeper, "set_model"):
        keeper.set_model(network)
    for start in ("on_train_begin", "register", "initialize"):
        if hasattr(keeper, start):
            getattr(keeper, start)(*([{}] if start == "on_train_begin" else []))
    name = next(name for name in UPDATES if _has_own(keeper, name))
    update = getattr(keeper, name)
    if name.startswith("on_"):
        return lambda count: update(count, {})
    names = parameter_names(update)
    counted = first_named(names, COUNTS)
    own = [each for each in names if each != counted and (
        each in required(all_parameters(update)) or each.lower() in (*VARIABLES, *MODEL))]
    if callable(getattr(keeper, "average", None)):
        update(variables)  # it starts from the weights
    given = [] if not own else [network if own[0].lower() in MODEL else variables]
    return lambda count: update(*given, **({counted: count} if counted else {}))


def _has_own(keeper, name):
    """Whether its class, and not Keras's class of all callbacks, has the method."""
    found = getattr(type(keeper), name, None)
    return found is not None and not getattr(found, "__module__", "").startswith("keras.src.callbacks.callback")


def _flat(arrays, framework):
    return np.concatenate([np.ravel(framework.host(array)) for array in arrays])


def _averages(keeper: Any, network: Any, variables: list[Any], framework: Any) -> list[Any]:
    """The averaged weights: what `average` gives, or the arrays of these shapes that the object holds apart from them.
    """
    if callable(getattr(keeper, "average", None)):
        return [keeper.average(variable) for variable in variables]
    shapes = [tuple(variable.shape) for variable in variables]
    for held in vars(keeper).values():
        arrays = [] if held is network else _arrays(held, framework)
        apart = not any(array is variable for array, variable in zip(arrays, variables, strict=False))
        if apart and [tuple(np.shape(array)) for array in arrays] == shapes:
            return arrays
    raise InputError("ema: found no average in the target's attributes")


def _arrays(held, framework):
    """The arrays in an attribute: itself, or those of a list, a dict or a network."""
    if isinstance(held, framework.keras.Model):
        return held.trainable_variables
    if isinstance(held, Mapping):
        return list(held.values())
    if isinstance(held, (list, tuple)):
        return held
    return [held] if hasattr(held, "shape") else []
