"""Lists of arrays, and how they are shared out to threads."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from ...backend import buffer_pool, thread_pool, tuning


def covered(numbers: Sequence[Any], *arrays: Sequence[numpy.ndarray]) -> bool:
    """Whether the lists hold arrays of one floating dtype, corresponding ones of one shape, and these are numbers."""
    dtype = arrays[0][0].dtype
    shapes = [array.shape for array in arrays[0]]
    if dtype.name not in ("float32", "float64") or not {type(number) for number in numbers} <= {int, float}:
        return False
    return all([array.shape for array in own] == shapes and all(array.dtype == dtype for array in own)
               for own in arrays)


def share_out(function: Callable[[Any], Any], pieces: Sequence[Any], size: int) -> list[Any]:
    """[function(piece) for piece in pieces]; on threads where they have so many values in all that it is worth it."""
    if size >= tuning.PARALLEL_VALUES:
        return thread_pool.parallel_map(function, pieces)
    return thread_pool.parallel_map(lambda some: [function(piece) for piece in some], [pieces])[0]


def size_of(arrays: Sequence[numpy.ndarray]) -> int:
    """How many values they have in all."""
    return sum(array.size for array in arrays)


def empty_like(arrays: Sequence[numpy.ndarray]) -> list[numpy.ndarray]:
    """New arrays of their shapes and dtypes, with nothing in them yet."""
    return [buffer_pool.empty(array.shape, array.dtype) for array in arrays]
