"""The pickles in PyTorch's files: descriptions of tensors, without their data.

Each name that such a pickle may have maps to a method here. A tensor becomes a record of its storage, offset, shape and
strides, checked against the size that the storage declares. Used by: torch_containers.py.
Tests: reference_tests/weights/test_torch_files.py, test_hostile.py.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError

BFLOAT16 = "bfloat16"
DTYPES = {"Double": "f8", "Float": "f4", "Half": "f2", "BFloat16": BFLOAT16, "Long": "i8", "Int": "i4", "Short": "i2",
          "Char": "i1", "Byte": "u1", "Bool": "b1"}
MOST_AXES = 8
LARGEST = 2**59  # numbers of an array: NumPy's sizes in bytes, below 2⁶³, cannot overflow


class StorageType(NamedTuple):
    """The class of a storage, such as torch.FloatStorage: its numbers are of `dtype`, a NumPy name or BFLOAT16."""

    dtype: str

    @property
    def item_size(self) -> int:
        """Bytes of one number."""
        return 2 if self.dtype == BFLOAT16 else np.dtype(self.dtype).itemsize

    def __call__(self, arguments: tuple) -> Any:
        raise InputError("its pickle makes a storage by calling its type")


class Storage(NamedTuple):
    """`length` numbers that the file holds under `key`."""

    key: str
    length: int
    type: StorageType

    @property
    def size(self) -> int:
        """Bytes."""
        return self.length * self.type.item_size


class StoredTensor(NamedTuple):
    """A tensor as a file describes it; offset and strides count numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class TensorFunctions:
    """The functions that replace PyTorch's names, the storages that they were called with and the bytes of all tensors.
    """

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self.total = 0

    def admit(self, name: str) -> Any:
        """The function that replaces the dotted `name`."""
        if name.startswith("torch.") and name.endswith("Storage"):
            kind = name.removeprefix("torch.").removesuffix("Storage")
            if kind in DTYPES:
                return StorageType(DTYPES[kind])
            raise InputError(f"it holds tensors of {name[:80]!r}; expected {', '.join(DTYPES)}, such as float32 "
                             f"(Float)")
        functions = {"torch._utils._rebuild_tensor_v2": self.tensor, "torch._utils._rebuild_parameter": self.parameter,
                     "collections.OrderedDict": self.mapping}
        if name not in functions:
            raise InputError(f"its pickle names the global {name[:80]!r}; only state dicts are read, and nothing was "
                             f"run")
        return functions[name]

    def storage(self, identity: Any) -> Storage:
        """("storage", type, key, device, count), in older files with None after it."""
        kind, storage_type, key, _, count = identity[:5]
        if kind != "storage" or any(identity[5:]) or type(key) is not str or type(count) is not int or count < 0 \
                or type(storage_type.call) is not StorageType:
            raise InputError("its pickle refers to something outside the file by a persistent id")
        storage = Storage(key, count, storage_type.call)
        if self.storages.setdefault(key, storage) != storage:
            raise InputError(f"its pickle declares the storage {key[:40]!r} in two ways")
        return storage

    def tensor(self, arguments: tuple) -> StoredTensor:
        """(storage, offset, shape, strides, whether it requires a gradient, hooks, in newer files also metadata)."""
        storage, offset, shape, strides = arguments[:4]
        if any(arguments[6:]):
            raise InputError("its pickle holds a tensor that is conjugated, negated or has other metadata")
        if type(storage) is not Storage or not all(map(_are_sizes, (shape, strides, (offset,)))) \
                or len(shape) != len(strides) or math.prod(max(1, length) for length in shape) > LARGEST:
            raise InputError("its pickle holds a tensor that is not described as PyTorch describes them")
        count = math.prod(shape)
        last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
        if count and last >= storage.length:
            raise InputError("its pickle holds a tensor that reaches beyond its storage")
        self.total += count * storage.type.item_size
        return StoredTensor(storage, offset, shape, strides)

    def parameter(self, arguments: tuple) -> Any:
        """(tensor, whether it requires a gradient, hooks)."""
        return arguments[0]

    def mapping(self, arguments: tuple) -> dict:
        """An ordered dict, which the pickle then fills."""
        if arguments:
            raise InputError("its pickle fills an ordered dict in an unknown way")
        return {}

    def check_total(self, size: int) -> None:
        """InputError when all tensors together, sharing storages, are larger than the file of `size` bytes."""
        if self.total > size:
            raise InputError(f"declares {self.total} bytes of tensors in a file of {size}")


def _are_sizes(numbers: Any) -> bool:
    """Whether `numbers` is a tuple of a few whole numbers from 0 on."""
    return type(numbers) is tuple and len(numbers) <= MOST_AXES and \
        all(type(number) is int and number >= 0 for number in numbers)
