"""Checkpoints: everything a run needs to go on as if it had never stopped, in one safetensors file.

Arrays: "model.NAME", "velocity.NAME" and, with EMA, "ema.NAME". One metadata entry, "nfnumpy", holds the rest as JSON:
the step (which, with the seed, is all the randomness there is), the options, the classes, the model's configuration.
"""

import json

from .. import weights
from ..backend import backend_of
from ..errors import InputError

FORMAT = 1
FACTS = {"format": int, "step": int, "ema_updates": (int, type(None)), "options": dict, "family": str, "config": dict,
         "classes": list, "image_size": int, "progress": dict}


def save(path, groups, facts):
    """Write `groups` (group -> name -> array) and `facts` (what JSON can hold) to `path`, whole or not at all."""
    state = {f"{group}.{name}": array for group, arrays in groups.items() for name, array in arrays.items()}
    weights.save(path, state, {"nfnumpy": json.dumps({"format": FORMAT, **facts})})


def load(path):
    """(groups, facts) of the checkpoint at `path`; InputError when it is not one of ours."""
    state, metadata = weights.read(path)
    try:
        facts = json.loads(metadata["nfnumpy"])
        wrong = [key for key, kind in FACTS.items() if not isinstance(facts[key], kind) or isinstance(facts[key], bool)]
        wrong += [] if wrong or 0 <= facts["step"] < 2**63 and (facts["ema_updates"] or 0) >= 0 else ["step"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InputError(f"{path} holds arrays but is not an nfnumpy checkpoint: its metadata has no usable "
                         f"'nfnumpy' entry") from None
    if wrong or facts["format"] != FORMAT:
        raise InputError(f"{path} is a checkpoint of format {facts['format']!r}, expected {FORMAT}" if not wrong else
                         f"{path}: the checkpoint's {wrong[0]!r} is not what it should be")
    groups = {}
    for key, array in state.items():
        group, _, name = key.partition(".")
        groups.setdefault(group, {})[name] = array
    return groups, facts


def restore(arrays, into, what):
    """Put `arrays` (name -> host array) into the dict `into`, on its backend; InputError when they do not fit."""
    if set(arrays) != set(into):
        odd = sorted(set(arrays) ^ set(into))[0]
        raise InputError(f"checkpoint: its {what} does not fit this model, for example at {odd!r}")
    for name, own in into.items():
        if arrays[name].shape != own.shape or str(arrays[name].dtype) != str(own.dtype):
            raise InputError(f"checkpoint: {what} of {name} is {arrays[name].shape} {arrays[name].dtype}, expected "
                             f"{tuple(own.shape)} {own.dtype}")
    for name, own in into.items():
        into[name] = backend_of(own).asarray(arrays[name])
