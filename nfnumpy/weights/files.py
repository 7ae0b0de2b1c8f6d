"""nfnumpy's own weight files: safetensors, which hold arrays and a few strings and cannot carry code.

Used by: loading.py, conversion.py, training/checkpoint.py. Tests: reference_tests/weights/test_weights.py,
test_hostile.py.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import safetensors
import safetensors.numpy

from .. import backend as backends
from ..backend.arrays import Array
from ..errors import InputError
from ..files import atomic_write
from ..functional.checks import shown

CHECKSUM = "nfnumpy_sha256"  # metadata entry; files written by other programs, or before it existed, lack it
LARGEST_HEADER = 2**24  # bytes; a training checkpoint of NFNet-F7 has 0.7 MB
DTYPES = ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")  # that NumPy has

Result = TypeVar("Result")


def save(path: str | os.PathLike, state: Mapping[str, Array], metadata: dict[str, str] | None = None) -> None:
    """Write `state` (name -> array of either backend) and `metadata` (str -> str) to `path`, whole or not at all.

    InputError, one line, when it cannot be written; an interruption or a full disk leaves what was there.
    """
    _check_content(state, metadata)
    arrays = {name: backends.to_host(array) for name, array in state.items()}
    arrays = {name: array if array.flags.c_contiguous else array.copy(order="C") for name, array in arrays.items()}
    metadata = dict(metadata or {})
    metadata[CHECKSUM] = _checksum(arrays, metadata)
    atomic_write(path, safetensors.numpy.save(arrays, metadata=metadata))


def _check_content(state: Mapping[str, Array], metadata: Mapping[str, str] | None) -> None:
    """InputError unless these are str -> array of numbers and str -> str."""
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise InputError(f"save: expected a dict of name -> array, got {shown(state)}")
    for name, array in state.items():
        is_array = backends.is_array(array) or isinstance(array, np.generic)
        if not is_array or not (array.dtype.kind in "biuf" or backends.is_floating(array.dtype)):
            raise InputError(f"save: {name}: expected an array of numbers, got {shown(array)}")
    if metadata is None:
        return
    is_mapping = isinstance(metadata, Mapping)
    if not is_mapping or not all(isinstance(text, str) for pair in metadata.items() for text in pair):
        raise InputError(f"save: expected metadata of str -> str, got {shown(metadata)}")


def read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(state, metadata) of a safetensors file: name -> NumPy array, str -> str.

    InputError when it is not one, and when a checksum that `save` wrote does not fit its content.
    """
    state, metadata = _read_with(_content, path)
    stored = metadata.pop(CHECKSUM, None)
    if stored is not None and stored != _checksum(state, metadata):
        raise InputError(f"{path} is damaged: its content does not fit the checksum that was written with it")
    return state, metadata


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """The metadata (str -> str) of a safetensors file. InputError when it is not one."""
    return _read_with(lambda file: dict(file.metadata() or {}), path)


def _checksum(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """SHA-256 over names, types, shapes and bytes of the arrays (C-contiguous) and over the metadata."""
    checksum = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        checksum.update(f"{name!r} {array.dtype.str} {array.shape}".encode())
        checksum.update(array.reshape(-1).view("uint8").data)
    return checksum.hexdigest()


def _content(file: Any) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(state, metadata) of an opened safetensors file."""
    return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})


def _read_with(function: Callable[[Any], Result], path: str | os.PathLike) -> Result:
    """function(opened safetensors file at `path`); InputError when it is not one."""
    path = os.fspath(path)
    try:
        _inspect_header(path)
        with safetensors.safe_open(path, framework="numpy") as file:
            return function(file)
    except FileNotFoundError:
        raise InputError(f"no weight file at {path}") from None
    except (OSError, safetensors.SafetensorError, TypeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{path} is not a safetensors file that can be read here: {reason}") from None


def _inspect_header(path: str) -> None:
    """ValueError for what the safetensors library accepts: repeated names, types that NumPy lacks, huge headers.

    The library finds the rest: offsets that overlap, leave gaps or lie outside, and shapes that do not match them.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(LARGEST_HEADER, os.fstat(file.fileno()).st_size):
            raise ValueError(f"it declares a header of {length} bytes")
        header = json.loads(file.read(length), object_pairs_hook=_distinct)
    if not isinstance(header, dict):
        return
    for name, entry in header.items():
        if name == "__metadata__" or not isinstance(entry, dict):
            continue
        dtype = entry.get("dtype")
        if dtype is not None and dtype not in DTYPES:
            raise ValueError(f"{name[:80]!r} is of type {str(dtype)[:20]!r}, expected one of {', '.join(DTYPES)}")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The dict of `pairs`; ValueError when a name occurs twice."""
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("a name occurs twice in its header")
    return mapping
