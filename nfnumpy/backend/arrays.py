"""Questions about an array of any backend: its array module, its dtype, its contents."""

import math
import sys
from typing import Annotated, Any, TypeAlias

Array: TypeAlias = Any  # an array of any backend: numpy.ndarray, cupy.ndarray, array_api_strict's
FullPrecisionArray: TypeAlias = Annotated[Array, "float32 beside float16 and bfloat16, else of the others' dtype"]


def namespace(array: Array) -> Any:
    """The array module of `array` (numpy, cupy, array_api_strict …), as the array API standard has it.

    Raises TypeError for what is not an array.
    """
    try:
        return array.__array_namespace__()
    except AttributeError:
        if _is_cupy(array):  # CuPy's arrays do not announce the standard that they follow
            return sys.modules["cupy"]
        raise TypeError(f"expected an array, got {type(array).__name__}") from None


def _is_cupy(value):
    return type(value).__module__.partition(".")[0] == "cupy"


def is_array(value: object) -> bool:
    """Whether `value` is an array of some backend: not a number, not a NumPy scalar, not a list."""
    return hasattr(value, "__dlpack__") and (hasattr(value, "__array_namespace__") or _is_cupy(value))


def is_floating(dtype: Any) -> bool:
    """Whether `dtype` holds real floating numbers; bfloat16 does, though NumPy does not know it."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def as_array(value: Any) -> Array:
    """A computed `value` as an array: NumPy's functions of arrays () return numbers."""
    return namespace(value).asarray(value)


def fingerprint(array: Array) -> int:
    """A whole number that changes when the contents of `array` do; one pass over its memory.

    The bits, read as words of up to 32 bits in a near-square table, are added up modulo 2⁶⁴, each times a weight for
    its row and one for its column. The weights are odd, so that a single changed word always shows, and scrambled, so
    that negated, swapped or reordered values do not cancel; 64-bit words would, as signs are then worth 2⁶³.
    """
    xp = namespace(array)
    width = {1: xp.uint8, 2: xp.uint16}.get(array.dtype.itemsize, xp.uint32)
    words = xp.ascontiguousarray(array).reshape(-1).view(width)
    columns = max(1, math.isqrt(words.size))
    rows = words.size // columns
    table, rest = words[:rows * columns].reshape(rows, columns), words[rows * columns:]
    down, along = _weights(xp, rows + 1, 1), _weights(xp, columns, 2)
    by_row = xp.einsum("ij,j->i", table, along, dtype=xp.uint64)
    return int((by_row * down[:rows]).sum()) + int((rest * along[:rest.size] * down[rows:]).sum())


def _weights(xp, count, seed):
    """`count` scrambled odd numbers: the finalizer of splitmix64 (Steele, Lea, Flood, 2014) on a counter."""
    mixed = (xp.arange(count, dtype=xp.uint64) + (seed << 32)) * 0x9E3779B97F4A7C15
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB
    return (mixed ^ (mixed >> 31)) | 1
