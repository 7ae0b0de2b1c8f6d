"""Moving values without changing them: reshape, transpose, slice, pad, concatenate and their kin."""

from ..backend import namespace
from ..errors import InputError
from .arithmetic import unbroadcast


def reshape(x, *, shape):
    """The same values in row-major order under another `shape`; one size may be -1."""
    return namespace(x).reshape(x, tuple(shape))


def reshape_vjp(cotangent, x_shape, *, shape):
    return namespace(cotangent).reshape(cotangent, x_shape)


def transpose(x, *, axes=None):
    """Axes in the order `axes` (None: reversed)."""
    return namespace(x).permute_dims(x, tuple(reversed(range(x.ndim))) if axes is None else tuple(axes))


def transpose_vjp(cotangent, *, axes=None):
    count = cotangent.ndim
    inverse = tuple(reversed(range(count))) if axes is None else tuple(
        sorted(range(count), key=lambda position: axes[position] % count))
    return namespace(cotangent).permute_dims(cotangent, inverse)


def broadcast_to(x, *, shape):
    """x repeated along new and size-1 axes up to `shape`."""
    return namespace(x).broadcast_to(x, tuple(shape))


def broadcast_to_vjp(cotangent, x_shape, *, shape):
    return unbroadcast(cotangent, x_shape)


def flip(x, *, axis=None):
    """Values in reverse order along `axis` (None: along every axis)."""
    return namespace(x).flip(x, axis=axis)


def flip_vjp(cotangent, *, axis=None):
    return flip(cotangent, axis=axis)


def take_slice(x, *, index):
    """x[index] for an `index` of whole numbers, slices, Ellipsis and None; InputError for positions in lists."""
    for part in index if isinstance(index, tuple) else (index,):
        if not (part is None or part is Ellipsis or isinstance(part, (int, slice))) or isinstance(part, bool):
            raise InputError(f"slice: expected whole numbers, slices, ... and None, got {type(part).__name__}")
    return x[_with_ellipsis(index)]


def _with_ellipsis(index):
    """`index` as a tuple that reaches every axis: the standard leaves a shorter one undefined."""
    index = index if isinstance(index, tuple) else (index,)
    return index if any(part is Ellipsis for part in index) else (*index, Ellipsis)


def take_slice_vjp(cotangent, x_shape, *, index):
    xp = namespace(cotangent)
    whole = xp.zeros(tuple(x_shape), dtype=cotangent.dtype)
    without_new_axes = tuple(part for part in _with_ellipsis(index) if part is not None)
    view_shape = whole[without_new_axes].shape
    whole[without_new_axes] = xp.reshape(cotangent, view_shape)
    return whole


def pad(x, *, widths, value=0.0):
    """x framed by `value`: `widths` holds (before, after) for every axis, all ≥ 0."""
    xp = namespace(x)
    framed = xp.full(tuple(before + size + after for size, (before, after) in zip(x.shape, widths)), value,
                     dtype=x.dtype)
    framed[_inside(x.shape, widths)] = x
    return framed


def pad_vjp(cotangent, x_shape, *, widths, value=0.0):
    return cotangent[_inside(x_shape, widths)]


def _inside(shape, widths):
    return tuple(slice(before, before + size) for size, (before, _) in zip(shape, widths))


def concatenate(*arrays, axis=0):
    """Arrays joined along `axis`; their other sizes agree."""
    return namespace(arrays[0]).concat(arrays, axis=axis)


def concatenate_vjp(cotangent, arrays_shape, *, axis=0):
    axis, start, pieces = axis % cotangent.ndim, 0, []
    for shape in arrays_shape:
        pieces.append(cotangent[(slice(None),) * axis + (slice(start, start + shape[axis]), Ellipsis)])
        start += shape[axis]
    return tuple(pieces)


def stack(*arrays, axis=0):
    """Arrays of one shape joined along a new `axis`."""
    return namespace(arrays[0]).stack(arrays, axis=axis)


def stack_vjp(cotangent, arrays_shape, *, axis=0):
    axis %= cotangent.ndim
    return tuple(cotangent[(slice(None),) * axis + (position, Ellipsis)] for position in range(len(arrays_shape)))

