"""Reading PyTorch's files, in both of their formats, without PyTorch.

A file declares its tensors in a pickle. safe_unpickler.py reads it and makes a description of each tensor. The numbers
are read after every declared size has been compared with the bytes in the file. Used by: loading.py.
Tests: reference_tests/weights/test_torch_files.py, test_hostile.py.
"""

import math
from typing import Any, BinaryIO

import numpy as np

from ..errors import InputError
from .torch_containers import Contents, open_archive, open_legacy
from .torch_pickles import BFLOAT16, Storage, StoredTensor

WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")  # where training scripts put the weights, best first


def read_torch(file: BinaryIO) -> dict[str, np.ndarray]:
    """The state dict (name -> NumPy array) in the opened file of PyTorch, without a training script's other entries.

    Arrays have the tensors' dtypes, except that bfloat16, which NumPy lacks, becomes float32, which represents the same
    numbers exactly. Each array owns its memory, also where tensors share theirs. InputError, one line, when the file
    holds anything but tensors of numbers.
    """
    file.seek(0)
    contents = open_archive(file) if file.read(2) == b"PK" else open_legacy(file)
    tensors = _state_dict(contents.value)
    by_storage: dict[Storage, list[str]] = {}
    for name, tensor in tensors.items():
        by_storage.setdefault(tensor.storage, []).append(name)
    arrays = {}
    for storage, names in by_storage.items():
        numbers = _numbers(contents, storage)
        for name in names:
            arrays[name] = _array(numbers, tensors[name], shared=len(names) > 1)
    return {name: arrays[name] for name in tensors}


def _state_dict(value: Any) -> dict[str, StoredTensor]:
    """The names with tensors in the value of a file, without the prefix "module." of a parallel module."""
    for wrapper in WRAPPERS:
        if isinstance(value, dict) and isinstance(value.get(wrapper), dict):
            value = value[wrapper]
    is_state = isinstance(value, dict) and value and all(
        isinstance(name, str) and type(tensor) is StoredTensor for name, tensor in value.items())
    if not is_state:
        raise InputError("a file of PyTorch that holds no state dict: names with tensors, alone or as "
                         + " or ".join(repr(wrapper) for wrapper in WRAPPERS))
    tensors = {name.removeprefix("module."): tensor for name, tensor in value.items()}
    if len(tensors) != len(value):
        raise InputError("a file of PyTorch in which a name occurs with and without 'module.'")
    return tensors


def _numbers(contents: Contents, storage: Storage) -> np.ndarray:
    """All numbers of a storage, one axis, in the machine's byte order."""
    content = contents.read(storage)
    dtype = storage.type.dtype
    if dtype == BFLOAT16:  # the upper half of a float32
        halves = np.frombuffer(content, f"{contents.byte_order}u2")
        return (halves.astype(np.uint32) << 16).view(np.float32)
    if dtype == "b1":  # any other byte than 0 is True
        return np.frombuffer(content, np.uint8) != 0
    numbers = np.frombuffer(content, np.dtype(dtype).newbyteorder(contents.byte_order))
    return numbers.astype(numbers.dtype.newbyteorder("="), copy=False)


def _array(numbers: np.ndarray, tensor: StoredTensor, shared: bool) -> np.ndarray:
    """The array of `tensor` in the numbers of its storage, in C order; a copy where other tensors share the storage."""
    count = math.prod(tensor.shape)
    if count == 0:
        return np.empty(tensor.shape, numbers.dtype)
    strides = tuple(stride * numbers.itemsize for stride in tensor.strides)
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset:], tensor.shape, strides)
    if view.flags.c_contiguous and count == numbers.size and not shared:
        return numbers.reshape(tensor.shape)
    return np.array(view, order="C")
