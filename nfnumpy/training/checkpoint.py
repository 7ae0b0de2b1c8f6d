"""Checkpoints: everything that a resumed run needs to continue bit for bit, in one safetensors file.

Arrays: "model.NAME" of parameters and buffers, "velocity.NAME" of parameters, with RMSProp also "square_average.NAME",
and with EMA "ema.NAME" of parameters and buffers. One metadata entry, "nfnumpy", holds the rest as JSON: the step
(which, with the seed, determines all random numbers), the options, the classes, the model's configuration.
"""

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import weights
from ..backend import backend_of
from ..backend.arrays import Array
from ..errors import InputError

# Increase it when an entry changes its meaning. New options and fields need no new format: where a checkpoint lacks
# them, they have their defaults.
FORMAT = 1
FACTS: dict[str, Any] = {"format": int, "step": int, "ema_updates": (int, type(None)), "options": dict, "family": str,
                         "config": dict, "classes": list, "image_size": int, "progress": dict}


class Checkpoint(NamedTuple):
    """groups: group -> name -> array; facts: what JSON can hold, with the entries FACTS."""

    groups: dict[str, dict[str, np.ndarray]]
    facts: dict[str, Any]


def save(path: str | os.PathLike[str], groups: Mapping[str, Mapping[str, Array]], facts: Mapping[str, Any]) -> None:
    """Write `groups` (group -> name -> array) and `facts` (what JSON can hold) to `path`, whole or not at all."""
    state = {f"{group}.{name}": array for group, arrays in groups.items() for name, array in arrays.items()}
    weights.save(path, state, {"nfnumpy": json.dumps({"format": FORMAT, **facts})})


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint at `path`; InputError when it is damaged or not a checkpoint of nfnumpy."""
    state, metadata = weights.read(path)
    facts = _checked_facts(path, metadata)
    groups: dict[str, dict[str, np.ndarray]] = {}
    for key, array in state.items():
        group, _, name = key.partition(".")
        groups.setdefault(group, {})[name] = array
    return Checkpoint(groups, facts)


def _checked_facts(path: str | os.PathLike[str], metadata: Mapping[str, str]) -> dict[str, Any]:
    """The metadata entry "nfnumpy", with entries of the right types; InputError if it is unusable."""
    try:
        facts = json.loads(metadata["nfnumpy"])
        wrong = [key for key, kind in FACTS.items() if not isinstance(facts[key], kind) or isinstance(facts[key], bool)]
        if not wrong and not (0 <= facts["step"] < 2**63 and (facts["ema_updates"] or 0) >= 0):
            wrong = ["step"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InputError(f"{path} holds arrays but is not an nfnumpy checkpoint: its metadata has no usable "
                         f"'nfnumpy' entry") from None
    if wrong:
        raise InputError(f"{path}: the checkpoint's {wrong[0]!r} has a wrong type or value")
    if facts["format"] != FORMAT:
        raise InputError(f"{path} is a checkpoint of format {facts['format']!r}, expected {FORMAT}")
    return facts


def restore(arrays: Mapping[str, np.ndarray], into: dict[str, Array], what: str) -> None:
    """Put `arrays` (name -> host array) into the dict `into`, on its backend.

    what: what they are, for the message. InputError when names, shapes or dtypes differ.
    """
    if set(arrays) != set(into):
        example = min(set(arrays) ^ set(into))
        raise InputError(f"checkpoint: its {what} does not fit this model, for example at {example!r}")
    for name, own in into.items():
        if arrays[name].shape != own.shape or str(arrays[name].dtype) != str(own.dtype):
            raise InputError(f"checkpoint: {what} of {name} is {arrays[name].shape} {arrays[name].dtype}, expected "
                             f"{tuple(own.shape)} {own.dtype}")
    for name, own in into.items():
        into[name] = backend_of(own).asarray(arrays[name])
