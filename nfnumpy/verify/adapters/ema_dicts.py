"""Classes that average a dict of arrays, in frameworks whose parameters are no objects that change."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import Framework
from .ema_classes import ATTRIBUTES, SUFFIXES, UPDATES, WATCHED, by_update, parts_of

METHODS = (*UPDATES, "apply_gradients")


class AveragingDict:
    """first: the target's name of the dict; settings(decay): its keywords."""

    def __init__(self, target: Callable, framework: Framework, first: str,
                 settings: Callable[[float], Mapping[str, Any]]):
        self.target, self.framework, self.first, self.settings = target, framework, first, settings

    def run(self, case: Any) -> dict[str, np.ndarray]:
        """The averages after every update, and the weights that the last one got, which are to stay as they are."""
        keeper = self.target(**{self.first: self._dict(case.arrays["initial"])}, **self.settings(case.options["decay"]))
        averages = []
        for value in case.arrays["weights"]:
            given = self._dict(value)
            returned = self._update_of(keeper)(given)
            averages.append(self._flat(returned if isinstance(returned, Mapping) else self._kept(keeper)))
        return {**by_update(averages, SUFFIXES[case.options["use"]]), WATCHED: self._flat(given)}

    def _dict(self, vector):
        return {name: self.framework.array(np.array(part)) for name, part in parts_of(vector).items()}

    def _flat(self, arrays):
        return np.concatenate([np.ravel(np.array(self.framework.host(array))) for array in arrays.values()])

    def _update_of(self, keeper):
        update = next((getattr(keeper, name) for name in METHODS if hasattr(keeper, name)), None)
        if update is None:
            raise InputError(f"ema: found no update; looked for {', '.join(METHODS)}")
        return update

    def _kept(self, keeper):
        kept = [getattr(keeper, name, None) for name in (*ATTRIBUTES, "avg", "weights", "values")]
        found = next((value for value in kept if isinstance(value, Mapping) and value), None)
        if found is None:
            raise InputError("ema: its update returns no dict, and it has none of the known attributes")
        return found
