"""Our own weight files: safetensors, which hold arrays and a few strings and cannot carry code."""

import contextlib
import os

import safetensors
import safetensors.numpy

from .. import backend as backends
from ..errors import InputError


def save(path, state, metadata=None):
    """Write `state` (name -> array of either backend) and `metadata` (str -> str) to `path`, whole or not at all.

    The file is written beside `path`, flushed to the disk and renamed over it, so that an interruption or a full disk
    leaves what was there. InputError, one line, when it cannot be written.
    """
    path = os.fspath(path)
    arrays = {name: backends.to_host(array) for name, array in state.items()}
    arrays = {name: array if array.flags.c_contiguous else array.copy(order="C") for name, array in arrays.items()}
    content = safetensors.numpy.save(arrays, metadata=metadata)
    write_whole(path, content)


def write_whole(path, content):
    """Write the bytes `content` to `path`, whole or not at all; InputError when that fails, and `path` is as it was."""
    path = os.fspath(path)
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.unfinished")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _flush_folder(os.path.dirname(path) or ".")
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise InputError(f"cannot write {path}: {error.strerror or error}; what was there is untouched") from None


def _flush_folder(folder):
    """Make a rename in `folder` survive a power cut, where folders can be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
