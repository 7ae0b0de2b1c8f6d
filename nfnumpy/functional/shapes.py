"""Moving values without changing them: reshape, transpose, slice, pad, concatenate and their kin.

Used by: ops.py. Test: reference_tests/functional/test_operations_against_torch.py, test_against_pytorch_samples.py.
"""

import math
from collections.abc import Sequence
from types import EllipsisType
from typing import Any

from ..backend import namespace
from ..backend.arrays import Array
from ..errors import InputError
from .arithmetic import unbroadcast
from .checks import Shape, as_whole_number, axes_of, axis_of, real_number, shown, sizes_of

Index = int | slice | EllipsisType | None


def reshape(x: Array, *, shape: int | Sequence[int]) -> Array:
    """The same values in row-major order under another `shape`; one size may be -1."""
    sizes = sizes_of(shape, least=-1)
    known, count = math.prod(size for size in sizes if size != -1), math.prod(x.shape)
    guessed = sizes.count(-1)
    if guessed > 1 or (guessed and (not known or count % known)) or (not guessed and count != known):
        raise InputError(f"reshape: the {count} values of shape {tuple(x.shape)} do not fit {shown(shape)}")
    return namespace(x).reshape(x, sizes)


def reshape_vjp(cotangent: Array, x_shape: Shape, *, shape: int | Sequence[int]) -> Array:
    return namespace(cotangent).reshape(cotangent, x_shape)


def _order(axes: Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """The order of axes that `axes` means; InputError unless each of them is in it once."""
    if axes is None:
        return tuple(reversed(range(ndim)))
    order = axes_of(axes, ndim)
    if len(order) != ndim:
        raise InputError(f"transpose: expected each of {ndim} axes once, got {shown(axes)}")
    return order


def transpose(x: Array, *, axes: Sequence[int] | None = None) -> Array:
    """Axes in the order `axes` (None: reversed)."""
    return namespace(x).permute_dims(x, _order(axes, x.ndim))


def transpose_vjp(cotangent: Array, *, axes: Sequence[int] | None = None) -> Array:
    order = _order(axes, cotangent.ndim)
    inverse = tuple(order.index(axis) for axis in range(cotangent.ndim))
    return namespace(cotangent).permute_dims(cotangent, inverse)


def broadcast_to(x: Array, *, shape: int | Sequence[int]) -> Array:
    """x repeated along new and size-1 axes up to `shape`."""
    return namespace(x).broadcast_to(x, sizes_of(shape))


def broadcast_to_vjp(cotangent: Array, x_shape: Shape, *, shape: int | Sequence[int]) -> Array:
    return unbroadcast(cotangent, x_shape)


def flip(x: Array, *, axis: int | Sequence[int] | None = None) -> Array:
    """Values in reverse order along `axis` (None: along every axis)."""
    axes = axes_of(axis, x.ndim)
    everything = axis is None or not x.ndim
    return namespace(x).flip(x, axis=None if everything else axes)


def flip_vjp(cotangent: Array, *, axis: int | Sequence[int] | None = None) -> Array:
    return flip(cotangent, axis=axis)


def take_slice(x: Array, *, index: Index | tuple[Index, ...]) -> Array:
    """x[index] for an `index` of whole numbers, slices, Ellipsis and None; InputError for positions in lists."""
    return x[_checked_index(index)]


def _checked_index(index: Index | tuple[Index, ...]) -> tuple[Index, ...]:
    """`index` as a tuple of Python numbers that reaches every axis: the standard leaves a shorter one undefined."""
    parts = tuple(_checked_part(part) for part in (index if isinstance(index, tuple) else (index,)))
    return parts if any(part is Ellipsis for part in parts) else (*parts, Ellipsis)


def _checked_part(part: Any) -> Index:
    if part is None or part is Ellipsis:
        return part
    if isinstance(part, slice):
        bounds = [None if bound is None else as_whole_number(bound) for bound in (part.start, part.stop, part.step)]
        given = [part.start, part.stop, part.step]
        if any(bound is None and one is not None for bound, one in zip(bounds, given, strict=True)) or bounds[2] == 0:
            raise InputError(f"slice: expected bounds of whole numbers and a step that is not 0, got {shown(part)}")
        return slice(*bounds)
    number = None if isinstance(part, (list, tuple)) or getattr(part, "ndim", None) else as_whole_number(part)
    if number is None:
        raise InputError(f"slice: expected whole numbers, slices, ... and None, got {type(part).__name__}")
    return number


def take_slice_vjp(cotangent: Array, x_shape: Shape, *, index: Index | tuple[Index, ...]) -> Array:
    xp = namespace(cotangent)
    whole = xp.zeros(tuple(x_shape), dtype=cotangent.dtype)
    without_new_axes = tuple(part for part in _checked_index(index) if part is not None)
    view_shape = whole[without_new_axes].shape
    whole[without_new_axes] = xp.reshape(cotangent, view_shape)
    return whole


def pad(x: Array, *, widths: Sequence[Sequence[int]], value: float = 0.0) -> Array:
    """x framed by `value`: `widths` holds (before, after) for every axis, all ≥ 0."""
    widths = _checked_widths(widths, x.ndim)
    value = real_number(value, "value")
    shape = tuple(before + size + after for size, (before, after) in zip(x.shape, widths, strict=True))
    framed = namespace(x).full(shape, value, dtype=x.dtype)
    framed[_inside(x.shape, widths)] = x
    return framed


def pad_vjp(cotangent: Array, x_shape: Shape, *, widths: Sequence[Sequence[int]], value: float = 0.0) -> Array:
    return cotangent[_inside(x_shape, _checked_widths(widths, len(x_shape)))]


def _checked_widths(widths: Any, ndim: int) -> list[tuple[int, ...]]:
    """`widths` as pairs of numbers; InputError unless there is one for every axis."""
    given = list(widths) if isinstance(widths, Sequence) and not isinstance(widths, str) else []
    pairs = [sizes_of(pair, "widths") for pair in given]
    if len(pairs) != ndim or any(len(pair) != 2 for pair in pairs):
        raise InputError(f"pad: expected widths of a pair (before, after) for each of {ndim} axes, got {shown(widths)}")
    return pairs


def _inside(shape: Shape, widths: Sequence[Sequence[int]]) -> tuple[slice, ...]:
    return tuple(slice(before, before + size) for size, (before, _) in zip(shape, widths, strict=True))


def concatenate(*arrays: Array, axis: int = 0) -> Array:
    """Arrays joined along `axis`; their other sizes agree."""
    axis = axis_of(axis, arrays[0].ndim)
    others = {(*array.shape[:axis], *array.shape[axis + 1:]) for array in arrays if array.ndim == arrays[0].ndim}
    if len(others) > 1 or any(array.ndim != arrays[0].ndim for array in arrays):
        shapes = ", ".join(str(tuple(array.shape)) for array in arrays)
        raise InputError(f"concatenate: shapes {shapes} differ in more than axis {axis}")
    return namespace(arrays[0]).concat(arrays, axis=axis)


def concatenate_vjp(cotangent: Array, arrays_shape: Sequence[Shape], *, axis: int = 0) -> tuple[Array, ...]:
    axis, start, pieces = axis_of(axis, cotangent.ndim), 0, []
    for shape in arrays_shape:
        pieces.append(cotangent[(slice(None),) * axis + (slice(start, start + shape[axis]), Ellipsis)])
        start += shape[axis]
    return tuple(pieces)


def stack(*arrays: Array, axis: int = 0) -> Array:
    """Arrays of one shape joined along a new `axis`."""
    axis = axis_of(axis, arrays[0].ndim + 1)
    if len({tuple(array.shape) for array in arrays}) > 1:
        raise InputError(f"stack: expected arrays of one shape, got {', '.join(str(tuple(a.shape)) for a in arrays)}")
    return namespace(arrays[0]).stack(arrays, axis=axis)


def stack_vjp(cotangent: Array, arrays_shape: Sequence[Shape], *, axis: int = 0) -> tuple[Array, ...]:
    axis = axis_of(axis, cotangent.ndim)
    return tuple(cotangent[(slice(None),) * axis + (position, Ellipsis)] for position in range(len(arrays_shape)))
