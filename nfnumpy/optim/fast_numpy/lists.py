"""Lists of arrays, one for each parameter of a model."""

from collections.abc import Sequence
from typing import Any

import numpy

from ...backend import buffer_pool
from ...functional.fast_numpy.dtypes import FULL_PRECISION


def covered(numbers: Sequence[Any], *arrays: Sequence[numpy.ndarray]) -> bool:
    """Whether the lists hold arrays of one floating dtype, corresponding ones of one shape, and these are numbers."""
    dtype = arrays[0][0].dtype
    shapes = [array.shape for array in arrays[0]]
    if dtype not in FULL_PRECISION or not {type(number) for number in numbers} <= {int, float}:
        return False
    return all([array.shape for array in own] == shapes and {array.dtype for array in own} == {dtype}
               for own in arrays)


def size_of(arrays: Sequence[numpy.ndarray]) -> int:
    """How many values they have in all."""
    return sum(array.size for array in arrays)


def empty_like(arrays: Sequence[numpy.ndarray]) -> list[numpy.ndarray]:
    """New arrays of their shapes and dtypes, with nothing in them yet."""
    return [buffer_pool.empty(array.shape, array.dtype) for array in arrays]
