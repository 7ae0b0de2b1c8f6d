"""Lists of arrays on the GPU: which block of a launch does what of them, and their addresses.

Used by: multi_tensor.py, updates.py. Kernels: backend/kernels/optimizer.cu.
Test: reference_tests/kernels/test_optimizer.py.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy

from ...backend import cuda
from ...backend.arrays import Array
from ..agc import is_single_unit

Shape = tuple[int, ...]

RUN = 16384  # entries that a block takes of a tensor that may be cut anywhere
UNITS = 8  # units that a block takes: see `_unit_pieces`
KERNELS = cuda.KernelFile("optimizer", {"totals": (("int64",),), **dict.fromkeys(
    ("clipped_update", "clipped_rmsprop_update", "sums_of_squares", "norm", "sam_perturb", "moving_average",
     "copy_arrays"), (cuda.FULL_PRECISION,))})


# ---- which block does what: it depends on nothing but shapes


def _runs(tensor, size):
    """Pieces (see optimizer.cu) of a tensor that may be cut anywhere, given its number and its size."""
    first = numpy.arange(0, size, RUN)
    return [tensor, first, numpy.minimum(size - first, RUN), 1, 1]


def _unit_pieces(tensor, shape):
    """Pieces of whole units, of a tensor that is not empty.

    A block keeps its weights and gradients in registers between the norm and the update: 256 threads hold 8 units of
    1024 float32, 64 KiB, and a multiprocessor has two such blocks, of which one moves bytes while the other adds up.
    Rows of 8 float32 are the 32 bytes that memory moves at least.
    """
    size = math.prod(shape)
    if is_single_unit(shape):
        return [tensor, 0, size, 1, 1]
    first = numpy.arange(0, shape[-1], UNITS)
    return [tensor, first, size // shape[-1], shape[-1], numpy.minimum(shape[-1] - first, UNITS)]


def piece_table(shapes: Sequence[Shape], in_units: Sequence[bool]) -> numpy.ndarray:
    """All pieces of tensors of these shapes, the largest first, as a host array (pieces, 5).

    in_units: for each tensor whether its units stay whole.
    """
    tables = [numpy.empty((0, 5), numpy.int64)]
    for tensor, (shape, whole) in enumerate(zip(shapes, in_units, strict=True)):
        size = math.prod(shape)
        if size:
            fields = _unit_pieces(tensor, shape) if whole else _runs(tensor, size)
            tables.append(numpy.stack(numpy.broadcast_arrays(*numpy.atleast_1d(*fields)), axis=1))
    pieces = numpy.concatenate(tables).astype(numpy.int64)
    order = numpy.argsort(-pieces[:, 2] * pieces[:, 4], kind="stable")
    return pieces[order]


@functools.lru_cache(maxsize=256)  # an entry for each learning rate factor, and some more
def _pieces(device, shapes, in_units):
    """(table, order, starts) on the GPU `device`.

    table: `piece_table`; order[starts[t]:starts[t + 1]] are the numbers of tensor t's pieces.
    """
    import cupy
    table = piece_table(shapes, in_units)
    starts = numpy.searchsorted(numpy.sort(table[:, 0]), numpy.arange(len(shapes) + 1))
    arrays = table, numpy.argsort(table[:, 0], kind="stable"), starts.astype(numpy.int64)
    return tuple(cupy.asarray(array, blocking=True) for array in arrays)  # cached: other streams read without waiting


def pieces_by_tensor(shapes: tuple[Shape, ...], in_units: tuple[bool, ...]) -> tuple[Array, Array, Array]:
    """What `_pieces` has for the current GPU."""
    import cupy
    return _pieces(cupy.cuda.runtime.getDevice(), shapes, in_units)


def pieces_of(shapes: tuple[Shape, ...]) -> Array:
    """The table of pieces of tensors that may be cut anywhere."""
    return pieces_by_tensor(shapes, (False,) * len(shapes))[0]


# ---- lists of arrays


def common_shapes(*lists: Sequence[Array]) -> tuple[Shape, ...] | None:
    """The shapes of the arrays in the first list, if the others' are the same and all of one dtype; else None."""
    dtype = lists[0][0].dtype
    differs = any(array.dtype != dtype for arrays in lists for array in arrays)
    if differs or cuda.type_name(dtype) not in cuda.FULL_PRECISION:
        return None
    shapes = tuple(array.shape for array in lists[0])
    return shapes if all(tuple(array.shape for array in arrays) == shapes for arrays in lists[1:]) else None


def entries_of(dtype: numpy.dtype, *fields: Sequence[Any]) -> Array:
    """An array of the struct `dtype`, one for each tensor, on the GPU; the host does not wait for the copy.

    fields: for each field of the struct a list, of arrays whose addresses are meant, or of numbers.
    """
    import cupy
    entries = numpy.empty(len(fields[0]), dtype)
    for name, values in zip(dtype.names or (), fields, strict=True):
        entries[name] = [value if are_numbers(value) else value.data.ptr for value in values]
    return cupy.asarray(entries.view(numpy.int64))  # CuPy has no structs


def are_numbers(*values: Any) -> bool:
    """Whether all are of Python's own types, which do not decide a dtype."""
    return {type(value) for value in values} <= {int, float}


def is_scalar(array: Array | None, dtype: Any) -> bool:
    """Whether it is an array () of the dtype, or None."""
    return array is None or (array.shape == () and array.dtype == dtype)


def address_of(array: Array | None) -> numpy.int64:
    """Where the array is on the GPU, 0 for None."""
    return numpy.int64(0 if array is None else array.data.ptr)
