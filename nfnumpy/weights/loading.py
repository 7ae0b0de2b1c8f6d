"""Opening a file of weights of any kind, told by what is in it and not by what it is called."""

import os
import re

from ..errors import InputError
from . import files
from .families import check_names
from .haiku import from_haiku
from .numpy_pickles import read_pickle
from .timm import from_timm
from .torch_files import LEGACY_START, read_torch

GROUPS = ("model", "ema", "velocity")  # of arrays in a training checkpoint: weights, averaged weights, momentum
TEXT_PICKLE_STARTS = b"(}]c"  # of protocols 0 and 1


def kind_of(path):
    """ "safetensors", "torch" or "pickle", by the first bytes of the file at `path`; InputError for any other."""
    path = os.fspath(path)
    try:
        if not os.path.exists(path):
            raise InputError(f"no weight file at {path}")
        if not os.path.isfile(path):
            raise InputError(f"{path} is not a regular file")  # opening a pipe would wait for a writer
        with open(path, "rb") as file:
            start = file.read(len(LEGACY_START))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")) or start == LEGACY_START:
        return "torch"
    if start[8:9] == b"{" and (start[4:8] == b"\0\0\0\0" or start[:1] != b"\x80"):
        return "safetensors"
    if start[:1] == b"\x80" or start[:1] and start[0] in TEXT_PICKLE_STARTS:
        return "pickle"
    raise InputError(f"{path} is not a weight file: neither safetensors, nor of PyTorch, nor a pickle"
                     + ("" if start else "; it is empty"))


def load(path, group=None):
    """The state (name -> NumPy array) in a file of weights, in our names and layout.

    The file: ours, timm's safetensors, PyTorch's .pth, or a pickle of the authors' tree. Of a training checkpoint, all
    its arrays ("model.NAME", "ema.NAME", "velocity.NAME"), or those of one `group` without that prefix; `group` says
    nothing about other files. InputError, one line, for what cannot be read or has names of no scheme known here.
    """
    kind = kind_of(path)
    held = files.read(path) if kind == "safetensors" else read_torch(path) if kind == "torch" else read_pickle(path)
    try:
        return _of_safetensors(*held, group) if kind == "safetensors" else _of_foreign(held)
    except InputError as refusal:
        raise InputError(f"{path}: {refusal}") from None


def is_checkpoint(path):
    """Whether the file at `path` is a checkpoint that nfnumpy.train wrote; InputError when it is no weight file."""
    return kind_of(path) == "safetensors" and "nfnumpy" in files.read_metadata(path)


def _of_safetensors(state, metadata, group):
    """Ours are as they should be; those with timm's names are translated; a checkpoint may be asked for a part."""
    if "nfnumpy" in metadata and group is not None:
        part = {name.removeprefix(f"{group}."): array for name, array in state.items() if name.startswith(f"{group}.")}
        if not part:
            there = [name for name in GROUPS if any(key.startswith(f"{name}.") for key in state)]
            raise InputError(f"the checkpoint has no group {group!r}; it has {', '.join(there)}")
        return part
    return from_timm(state) if _is_timms(state) else state


def _of_foreign(value):
    """The state in what a pickle or a file of PyTorch held: the authors' tree, or names with arrays."""
    while isinstance(value, dict) and isinstance(value.get("params"), dict):
        value = value["params"]
    if not isinstance(value, dict) or not value:
        raise InputError(f"its {type(value).__name__} is not names with arrays, nor the authors' tree of them")
    if all(isinstance(inner, dict) for inner in value.values()):
        return from_haiku(value)
    if not all(isinstance(name, str) and hasattr(array, "__array_namespace__") for name, array in value.items()):
        raise InputError("it holds more than names with arrays")
    if _is_timms(value):
        return from_timm(value)
    check_names(value, "names of no scheme known here")
    return value


def _is_timms(state):
    """Whether the names of `state` are those of one of timm's normalizer-free models."""
    return any(name.startswith("stem.") for name in state) and \
        any(re.match(r"stages\.\d+\.\d+\.", name) for name in state)
