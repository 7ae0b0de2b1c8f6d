"""Pickles of arrays, such as the authors' released files: NumPy's, JAX's and Haiku's objects, and no others.

Each admitted name of such a file maps to a method here, which makes a NumPy array from bytes of the file, or a dict;
no function of NumPy, JAX, Haiku or dill is called by the file. Used by: loading.py.
Tests: reference_tests/weights/test_formats.py, test_hostile.py.
"""

import math
import mmap
import re
from typing import Any, BinaryIO, NoReturn

import numpy as np

from ..errors import InputError
from .safe_unpickler import Admitted, Record, run

NUMPY_CORES = ("numpy.core", "numpy._core")  # before and since NumPy 2
ADMITTED = {
    "numpy.ndarray": "marker",
    "numpy.dtype": "dtype",
    **{f"{core}.multiarray._reconstruct": "empty" for core in NUMPY_CORES},
    **{f"{core}.multiarray.scalar": "scalar" for core in NUMPY_CORES},
    **{f"{core}.numeric._frombuffer": "from_buffer" for core in NUMPY_CORES},
    "_codecs.encode": "encoded",
    "__builtin__.bytes": "no_bytes",  # the bytes of an array without elements, in protocol 2
    "collections.OrderedDict": "mapping",
    "haiku._src.data_structures.FlatMapping": "mapping",
    "haiku._src.data_structures.frozendict": "mapping",
    "haiku._src.data_structures.to_immutable_dict": "mapping",
    "jax._src.array._reconstruct_array": "filled",
    "jax._src.device_array.reconstruct_device_array": "filled",
    "dill._dill._create_array": "filled",
}
DEEPEST = 8  # dicts inside dicts; weights have two, and those of a training run a few more
NUMBERS = re.compile(r"[fiu][1248]|b1")


def read_pickle(file: BinaryIO) -> Any:
    """The value of the pickle in the opened `file`: dicts, lists and tuples of NumPy arrays and plain values.

    InputError, one line, for anything else: other names are refused before anything is done with them.
    """
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        size = len(content)
        value = run(content, size, ArrayFunctions(size).admit)
        if content.tell() != size:
            raise InputError(f"{size - content.tell()} bytes follow the end of its pickle")
        return _finished(value, {})


class Dtype(Record):
    """The type of an array's elements, of which only numbers are admitted."""

    def __init__(self, name: Any) -> None:
        if type(name) is not str or not NUMBERS.fullmatch(name):
            what = "Python objects" if name == "O8" else repr(name)[:40]
            raise InputError(f"its pickle holds an array of {what}, expected numbers of at most 8 bytes")
        self.numpy = np.dtype(name)

    def build(self, state: Any) -> None:
        """Set the byte order from (version, byte order, and entries that only structured types fill)."""
        if type(state) is not tuple or len(state) < 5 or state[1] not in ("<", ">", "|", "=") or any(state[2:5]):
            raise InputError("its pickle holds an array whose elements are not plain numbers")
        self.numpy = self.numpy.newbyteorder(state[1])


class UnfilledArray(Record):
    """An array that the pickle creates empty and then gives its shape, elements and order."""

    def __init__(self, functions: "ArrayFunctions") -> None:
        self.functions = functions
        self.numpy: np.ndarray | None = None

    def build(self, state: Any) -> None:
        """Fill the array from (version, shape, dtype, whether in Fortran order, bytes)."""
        _, shape, dtype, is_fortran, content = state
        if type(content) is list:
            raise InputError("its pickle holds an array of Python objects, expected numbers")
        order = "F" if is_fortran else "C"
        self.numpy = self.functions.array(content, dtype, shape, order)


class ArrayFunctions:
    """The functions that replace the admitted names while one file of `size` bytes is read.

    Each counts the memory it takes. A file contains every byte of its arrays; in protocol 2 they are text first and
    then bytes. So twice the file's size is enough for every file, but not for one that uses the same bytes many times.
    """

    def __init__(self, size: int) -> None:
        self.allowance = 2 * size

    def admit(self, name: str) -> Any:
        """The function that replaces the dotted `name`."""
        if name not in ADMITTED:
            raise InputError(f"its pickle names the global {name[:80]!r}; only arrays and plain containers are read, "
                             f"and nothing was run")
        return getattr(self, ADMITTED[name])

    def take(self, count: int) -> None:
        """Use `count` bytes of the allowance."""
        self.allowance -= count
        if self.allowance < 0:
            raise InputError("its pickle declares more bytes of arrays than the file has")

    def array(self, content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
        """The array of `shape` in the bytes `content`, in the machine's byte order."""
        if not isinstance(dtype, Dtype) or type(content) not in (bytes, bytearray, str) or type(shape) is not tuple \
                or len(shape) > 32 or not all(type(length) is int and 0 <= length < 2**63 for length in shape) \
                or order not in ("C", "F"):
            raise InputError("its pickle holds an array that is not described as NumPy describes them")
        declared = math.prod(shape) * dtype.numpy.itemsize
        if declared != len(content):
            raise InputError(f"its pickle declares an array of {declared} bytes and holds {len(content)} for it")
        self.take(declared)
        if type(content) is str:
            content = content.encode("latin-1")  # the bytes of Python 2
        return np.frombuffer(content, dtype.numpy).reshape(shape, order=order)

    def marker(self, arguments: tuple) -> NoReturn:
        """numpy.ndarray, which may be an argument and may not be called."""
        raise InputError("its pickle makes an array by calling its type")

    def dtype(self, arguments: tuple) -> Dtype:
        """(name, two flags)."""
        return Dtype(arguments[0])

    def empty(self, arguments: tuple) -> UnfilledArray:
        """(type of the array, an empty shape, a letter)."""
        if type(arguments[0]) is not Admitted or arguments[0].name != "numpy.ndarray":
            raise InputError("its pickle holds an array of a type of its own")
        return UnfilledArray(self)

    def scalar(self, arguments: tuple) -> np.ndarray:
        """(dtype, bytes)."""
        dtype, content = arguments
        return self.array(content, dtype, (), "C")

    def from_buffer(self, arguments: tuple) -> np.ndarray:
        """(bytes, dtype, shape, order)."""
        content, dtype, shape, order = arguments
        return self.array(content, dtype, shape, order)

    def filled(self, arguments: tuple) -> UnfilledArray:
        """(NumPy's function, its arguments, the array's state), then entries of JAX or dill, which are not used."""
        function, inner, state = arguments[:3]
        if type(function) is not Admitted or ADMITTED[function.name] != "empty":
            raise InputError("its pickle holds an array that is not made as NumPy makes them")
        array = function.call(inner)
        array.build(state)
        return array

    def encoded(self, arguments: tuple) -> bytes:
        """(text, encoding)."""
        text, encoding = arguments
        if type(text) is not str or encoding not in ("latin1", "latin-1"):
            raise InputError("its pickle encodes something other than the bytes of an array")
        self.take(len(text))
        return text.encode("latin-1")

    def no_bytes(self, arguments: tuple) -> bytes:
        """(), for the bytes of an array without elements."""
        if arguments:
            raise InputError("its pickle makes bytes out of something else")
        return b""

    def mapping(self, arguments: tuple) -> dict:
        """() or (dict,)."""
        if arguments and (len(arguments) > 1 or type(arguments[0]) is not dict):
            raise InputError("its pickle makes a mapping of something other than a dict")
        return arguments[0] if arguments else {}


def _finished(value: Any, seen: dict[int, Any], depth: int = 0) -> Any:
    """`value` with its records replaced by arrays of their own memory, in the machine's byte order.

    Shared arrays are not copied twice. Shared dicts are refused: a few of them can describe more than any memory.
    """
    if isinstance(value, UnfilledArray):
        value = value.numpy
    if isinstance(value, np.ndarray):
        if id(value) not in seen:
            seen[id(value)] = value.astype(value.dtype.newbyteorder("="), order="C")
        return seen[id(value)]
    if type(value) is dict:
        if id(value) in seen or depth == DEEPEST:
            raise InputError(f"its pickle uses one dict in several places, or nests more than {DEEPEST} of them")
        seen[id(value)] = value
        return {key: _finished(inner, seen, depth + 1) for key, inner in value.items()}
    return value
