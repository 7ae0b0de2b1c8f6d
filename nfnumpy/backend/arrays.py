"""What can be said about an array without knowing whose it is."""

import math
import numbers


def namespace(array):
    """The array module of `array` (numpy, cupy, array_api_strict …), as the array API standard has it.

    Raises TypeError for what is not an array.
    """
    try:
        return array.__array_namespace__()
    except AttributeError:
        raise TypeError(f"expected an array, got {type(array).__name__}") from None


def is_array(value):
    """Whether `value` is an array of some backend: not a number, not a NumPy scalar, not a list."""
    return hasattr(value, "__array_namespace__") and hasattr(value, "strides") \
        and not isinstance(value, numbers.Number)


def fingerprint(array):
    """A tuple of integers that changes when the contents of `array` do; two passes over its memory.

    The bits, read as unsigned integers in a near-square table, are summed by rows and by columns (modulo 2⁶⁴), and
    those sums are combined with odd weights, so that moving values about shows as well as changing them.
    """
    xp = namespace(array)
    width = {1: xp.uint8, 2: xp.uint16, 4: xp.uint32, 8: xp.uint64}[array.dtype.itemsize]
    bits = xp.ascontiguousarray(array).reshape(-1).view(width)
    columns = max(1, math.isqrt(bits.size))
    rows = bits.size // columns
    table, rest = bits[:rows * columns].reshape(rows, columns), bits[rows * columns:]
    sums = (table.sum(axis=0, dtype=xp.uint64), table.sum(axis=1, dtype=xp.uint64), rest.astype(xp.uint64))
    return tuple(int((part * (2 * xp.arange(part.size, dtype=xp.uint64) + 1)).sum(dtype=xp.uint64)) for part in sums)
