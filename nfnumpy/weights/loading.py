"""Reading a file of weights of any kind, recognized by its content and not by its name.

Used by: conversion.py, training/classifier.py, commands. Test: reference_tests/weights/test_formats.py.
"""

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from ..errors import InputError
from . import files
from .haiku import from_haiku
from .naming import check_names
from .numpy_pickles import read_pickle
from .timm import from_timm, has_timm_names
from .timm_gains import original_state
from .torch_containers import LEGACY_START
from .torch_files import read_torch

GROUPS = ("model", "ema", "velocity", "square_average")  # of arrays in a training checkpoint
TEXT_PICKLE_STARTS = b"(}]c"  # of protocols 0 and 1


def load(path: str | os.PathLike, group: str | None = None) -> dict[str, np.ndarray]:
    """The state (name -> NumPy array) in a file of weights, with nfnumpy's names and layout.

    The file: nfnumpy's or timm's safetensors, PyTorch's .pth, or a pickle of the authors' tree. Of a training
    checkpoint, all its arrays ("model.NAME", "ema.NAME", "velocity.NAME"), or those of one `group` without that prefix;
    `group` has no effect on other files. Of a file that `convert` wrote for timm, the gains as they were before.
    InputError, one line, for a file that cannot be read, and for unknown names.
    """
    path = os.fspath(path)
    with _open_weights(path) as (file, kind):
        if kind == "safetensors":
            state, metadata = files.read(path)
        try:
            if kind == "safetensors":
                return _state_in_safetensors(state, metadata, group)
            value = read_torch(file) if kind == "torch" else read_pickle(file)
            return _state_in_pickle(value)
        except InputError as refusal:
            raise InputError(f"{path}: {refusal}") from None


def is_checkpoint(path: str | os.PathLike) -> bool:
    """Whether the file at `path` is a checkpoint that nfnumpy.train wrote; InputError when it is no weight file."""
    path = os.fspath(path)
    with _open_weights(path) as (_, kind):
        return kind == "safetensors" and "nfnumpy" in files.read_metadata(path)


@contextlib.contextmanager
def _open_weights(path: str) -> Iterator[tuple[BinaryIO, str]]:
    """Context of (the open file, its kind: "safetensors", "torch" or "pickle"); InputError for any other file."""
    try:
        file = open(path, "rb", opener=_open_regular)
    except FileNotFoundError:
        raise InputError(f"no weight file at {path}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    with file:
        kind = _kind_of(path, file.read(len(LEGACY_START)))
        file.seek(0)
        yield file, kind


def _open_regular(path: str, flags: int) -> int:
    """The descriptor of the opened file; InputError unless it is a regular one. Never waits for a pipe's writer."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path} is not a regular file")
    return descriptor


def _kind_of(path: str, start: bytes) -> str:
    """ "safetensors", "torch" or "pickle", by the first bytes of a file; InputError for any other."""
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")) or start == LEGACY_START:
        return "torch"
    if start[8:9] == b"{" and (start[4:8] == b"\0\0\0\0" or start[:1] != b"\x80"):
        return "safetensors"
    if start[:1] == b"\x80" or (start and start[0] in TEXT_PICKLE_STARTS):
        return "pickle"
    empty = "" if start else "; it is empty"
    raise InputError(f"{path} is not a weight file: neither safetensors, nor of PyTorch, nor a pickle{empty}")


def _state_in_safetensors(state: dict[str, np.ndarray], metadata: Mapping[str, str],
                          group: str | None) -> dict[str, np.ndarray]:
    """`state` with timm's names translated; other names stay. Of a checkpoint, `group` selects a part."""
    if "nfnumpy" in metadata and group is not None:
        part = {name.removeprefix(f"{group}."): array for name, array in state.items() if name.startswith(f"{group}.")}
        if not part:
            there = [name for name in GROUPS if any(key.startswith(f"{name}.") for key in state)]
            raise InputError(f"the checkpoint has no group {group!r}; it has {', '.join(there)}")
        return part
    return original_state(from_timm(state), metadata) if has_timm_names(state) else state


def _state_in_pickle(value: Any) -> dict[str, np.ndarray]:
    """The state in the value of a pickle or a file of PyTorch: the authors' tree, or names with arrays."""
    while isinstance(value, dict) and isinstance(value.get("params"), dict):
        value = value["params"]
    if not isinstance(value, dict) or not value:
        raise InputError(f"its {type(value).__name__} is not names with arrays, nor the authors' tree of them")
    if all(isinstance(inner, dict) for inner in value.values()):
        return from_haiku(value)
    if not all(isinstance(name, str) and hasattr(array, "__array_namespace__") for name, array in value.items()):
        raise InputError("it holds more than names with arrays")
    if has_timm_names(value):
        return from_timm(value)
    check_names(value, "names of no scheme known here")
    return value
