"""Our own weight files: safetensors, which hold arrays and a few strings and cannot carry code."""

import os

import safetensors
import safetensors.numpy

from .. import backend as backends
from ..errors import InputError
from ..whole_files import write_whole


def save(path, state, metadata=None):
    """Write `state` (name -> array of either backend) and `metadata` (str -> str) to `path`, whole or not at all.

    InputError, one line, when it cannot be written; an interruption or a full disk leaves what was there.
    """
    arrays = {name: backends.to_host(array) for name, array in state.items()}
    arrays = {name: array if array.flags.c_contiguous else array.copy(order="C") for name, array in arrays.items()}
    content = safetensors.numpy.save(arrays, metadata=metadata)
    write_whole(path, content)


def read(path):
    """(state, metadata) of a safetensors file: name -> NumPy array, str -> str. InputError when it is not one."""
    path = os.fspath(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})
    except FileNotFoundError:
        raise InputError(f"no weight file at {path}") from None
    except (OSError, safetensors.SafetensorError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not a safetensors file that can be read here: {reason}") from None


def load(path):
    """The state (name -> NumPy array) in the safetensors file at `path`; InputError when it is not one."""
    return read(path)[0]
