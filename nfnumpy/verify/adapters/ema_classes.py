"""Classes that average the parameters of a model or a list of parameters, which are those of a small network."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import Framework
from .guarded_call import guarded
from .signatures import first_named, parameters_of, required

STEP = ("step", "t", "count", "num_updates", "n", "iteration", "updates_done", "steps")
ATTRIBUTES = ("module", "ema", "ema_model", "model", "averaged_model", "shadow_params", "shadow", "average", "averages",
              "ema_params", "averaged", "avg_params", "params")
UPDATES = ("update_parameters", "update", "step", "__call__")
SEPARATE = 3  # updates whose averages have names of their own
PARTS = {"conv.weight": (2, 1, 1, 1), "norm.weight": (1,), "block.skip_gain": (), "head.bias": (1,)}
SUFFIXES = {"plain": "", "generator": ", parameters given by a generator",
            "restored": " after state_dict there and back", "applied": ", applied to the model and taken back"}
WATCHED = "weights after an update"
APPLIED, TAKEN_BACK = "weights with the average applied", "weights after it was taken back"
APPLY, TAKE_BACK = ("apply_shadow", "copy_to", "apply", "apply_average", "swap_in"), ("restore", "swap_out")
RESTORED_AFTER = 3  # updates


def by_update(averages: Sequence[np.ndarray], suffix: str = "") -> dict[str, np.ndarray]:
    """The averages after every update, by name: the first three separate, the later ones together."""
    first = {f"average after update {count}{suffix}": average
             for count, average in enumerate(averages[:SEPARATE], start=1)}
    later = averages[SEPARATE:]
    return {**first, f"averages after later updates{suffix}": np.stack(later)} if later else first


def parts_of(vector: np.ndarray) -> dict[str, np.ndarray]:
    """A vector as the parameters of a small network: all of it in the first one where it has not their size."""
    sizes = [int(np.prod(shape)) for shape in PARTS.values()]
    if vector.size != sum(sizes):
        return {next(iter(PARTS)): vector.reshape(-1, 1, 1, 1)}
    pieces = np.split(vector, np.cumsum(sizes)[:-1])
    return {name: piece.reshape(shape) for (name, shape), piece in zip(PARTS.items(), pieces, strict=True)}


class AveragingClass:
    """first: the target's name of the model or of the parameters; settings(decay): its keywords."""

    def __init__(self, target: Callable, framework: Framework, first: str, takes_model: bool,
                 settings: Callable[[float], Mapping[str, Any]]):
        self.target, self.framework, self.first = target, framework, first
        self.takes_model, self.settings = takes_model, settings
        can_apply = any(hasattr(target, name) for name in APPLY) and any(hasattr(target, name) for name in TAKE_BACK)
        self.uses = ("restored", *(() if takes_model else ("generator",)), *(("applied",) if can_apply else ()))

    def run(self, case: Any) -> dict[str, np.ndarray]:
        """The averages after every update, and the watched weights, which are to stay as they are."""
        framework, use = self.framework, case.options["use"]
        leaves = {name: framework.parameter(framework.array(part))
                  for name, part in parts_of(case.arrays["initial"]).items()}
        watched = framework.container(leaves) if self.takes_model else list(leaves.values())
        given = (leaf for leaf in watched) if use == "generator" else watched
        keeper = self._made(given, case.options["decay"])
        averages = []
        for count, value in enumerate(case.arrays["weights"], start=1):
            for name, part in parts_of(value).items():
                framework.assign(leaves[name], framework.array(part))
            if use == "restored" and count == RESTORED_AFTER:
                keeper = self._restored(keeper, watched, case.options["decay"])
            self._update(keeper, watched, count)
            averages.append(_flat(framework, _averages_of(keeper, watched, leaves)))
        if use == "applied":
            return self._applied(keeper, watched, leaves)
        after = {} if use != "plain" else {WATCHED: _flat(framework, list(leaves.values()))}
        return {**by_update(averages, SUFFIXES[use]), **after}

    def notes(self) -> tuple[str, ...]:
        """Which number its update gets, if any; InputError where the class cannot be made."""
        watched = [self.framework.parameter(self.framework.array(np.zeros(1)))]
        keeper = guarded("ema", self._made,
                         self.framework.container({"a.weight": watched[0]}) if self.takes_model else watched, 0.9)
        has_step = first_named(parameters_of(_update_of(keeper)) or {}, STEP)
        return (f"its update gets {has_step} = 1, 2, 3, …, as in timm's training script",) if has_step else ()

    def _made(self, given, decay):
        return self.target(**{self.first: given}, **self.settings(decay))

    def _restored(self, keeper, watched, decay):
        """A new one with the state of the old one."""
        if not hasattr(keeper, "state_dict") or not hasattr(keeper, "load_state_dict"):
            raise InputError("it has no state_dict and load_state_dict")
        again = self._made(watched, decay)
        again.load_state_dict(keeper.state_dict())
        return again

    def _applied(self, keeper, watched, leaves):
        """The weights of the model with the average in their place, and after they were taken back."""
        found = {}
        for name, methods in ((APPLIED, APPLY), (TAKEN_BACK, TAKE_BACK)):
            if methods is APPLY and hasattr(keeper, "store"):
                _call_with(keeper.store, watched)
            _call_with(next(getattr(keeper, each) for each in methods if hasattr(keeper, each)), watched)
            found[name] = _flat(self.framework, list(leaves.values()))
        return found

    def _update(self, keeper, watched, count):
        update = _update_of(keeper)
        taken = parameters_of(update) or {}
        step_name = first_named(taken, STEP)
        update(*([watched] if required(taken) else []), **({step_name: count} if step_name else {}))


def _call_with(method, watched):
    """Call a method that may take what is averaged."""
    method(*([watched] if required(parameters_of(method)) else []))


def _update_of(keeper):
    return next((getattr(keeper, name) for name in UPDATES if hasattr(keeper, name)), None)


def _flat(framework, arrays):
    return np.concatenate([np.ravel(framework.host(array)) for array in arrays])


def _averages_of(keeper, watched, leaves):
    """The averaged parameters in order, from the first attribute that has some."""
    for name in ATTRIBUTES:
        value = getattr(keeper, name, None)
        if hasattr(value, "named_parameters"):
            if value is not watched:
                return _in_order(dict(value.named_parameters()), leaves)
        elif isinstance(value, dict) and value:
            return _in_order(value, leaves)
        elif isinstance(value, (list, tuple)) and value and value is not watched:
            return list(value)
    raise InputError(f"found no average in the target; looked for {', '.join(ATTRIBUTES)}")


def _in_order(named, leaves):
    """The values by the parameters' names, which may have a prefix, else in their own order."""
    found = [next((value for key, value in named.items() if str(key) == name or str(key).endswith(f".{name}")), None)
             for name in leaves]
    if any(value is None for value in found):
        return list(named.values())
    return found
