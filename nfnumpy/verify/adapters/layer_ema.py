"""Moving averages of weights for TensorFlow and Keras: callbacks, classes around a model or its variables, and objects
with `apply` and `average`, as tf.train.ExponentialMovingAverage.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from .layer_clipping import MODEL, VARIABLES
from .layer_factories import all_parameters
from .signatures import first_named, parameter_names, required

UPDATES = ("on_train_batch_end", "on_batch_end", "update", "update_weights", "update_parameters", "step", "apply",
           "__call__")
COUNTS = ("num_updates", "step", "steps", "t", "count", "iteration", "batch")

Averages = Callable[[Any], list[np.ndarray]]


def layer_averages(target: Any, framework: Any, settings_for: Callable[[float], Mapping[str, Any]],
                   decay_name: str | None) -> Averages | None:
    """The averages after every update of an input case, or None for no class of these forms."""
    if not isinstance(target, type) or not any(hasattr(target, name) for name in UPDATES[:-1]):
        return None
    parameters = all_parameters(target)
    first = first_named(list(parameters)[:1], (*MODEL, *VARIABLES))
    needed = [name for name in required(parameters) if name not in (decay_name, first)]
    if needed:
        flags = " ".join(f"--option {name}=…" for name in needed)
        raise InputError(f"ema: the target cannot be made without {', '.join(needed)}: give {flags}")

    def run(case):
        initial = case.arrays["initial"]
        network, weights = framework.network_of({"layer.kernel": initial}, lambda variables: variables[0][0])
        variable = framework.own(weights.variables["layer.kernel"])
        watched = [variable] if first in VARIABLES else network
        keeper = target(**({first: watched} if first else {}), **settings_for(case.options["decay"]))
        update = _update_of(keeper, network, [variable])
        averages = []
        for count, value in enumerate(case.arrays["weights"]):
            framework.assign(variable, framework.array(value))
            update(count)
            averages.append(_average(keeper, variable, framework).reshape(initial.shape))
        return averages
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


def _average(keeper: Any, variable: Any, framework: Any) -> np.ndarray:
    """The averaged weight: what `average` gives, or the one array of its size that the object holds apart from it."""
    if callable(getattr(keeper, "average", None)):
        return np.array(framework.host(keeper.average(variable)))
    for held in vars(keeper).values():
        for array in _arrays(held, framework):
            if array is not variable and tuple(np.shape(array)) == tuple(variable.shape):
                return np.array(framework.host(array))
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
