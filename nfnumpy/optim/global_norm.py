"""The norm over all gradients together, and clipping by it.

Source: Pascanu et al. (2013), arXiv 1211.5063, algorithm 1.

Used by: sam.py, loss_scale.py. Fast paths: fast_numpy/multi_tensor.py, fast_cupy/multi_tensor.py. Kernels:
backend/kernels/optimizer.cu (`sums_of_squares`, `norm`). Tests: reference_tests/optim/test_global_norm.py,
test_norms.py; fast_numpy/test_optimizer.py and kernels/test_optimizer.py.
"""

from collections.abc import Iterable, Sequence

from ..backend import as_array, formula, is_array, namespace
from ..backend.arrays import Array
from ..errors import InputError
from ..functional.checks import shown
from ..functional.safe_range import multiplier
from .checks import is_finite_number
from .norms import joined, shrunk, widened


@formula
def scaled_global_norm(arrays: list[Array]) -> tuple[Array, Array]:
    """(norm, by): the L2 norm of all arrays·by taken as one vector, and the power of two `by` (see norms.py).

    Two arrays () of the arrays' dtype, float32 for half precision. There must be at least one array.
    """
    xp = namespace(arrays[0])
    arrays = [widened(array) for array in arrays]
    zero = xp.zeros((), dtype=arrays[0].dtype)
    largest = zero
    for array in arrays:
        if 0 not in array.shape:
            largest = xp.maximum(largest, xp.max(xp.abs(array)))
    by = multiplier(largest)  # 1, unless squares would leave the dtype's range
    squares = zero
    for array in arrays:
        scaled = array * by
        squares = squares + xp.sum(scaled * scaled)
    return as_array(xp.sqrt(squares)), as_array(by)


def global_norm(arrays: Sequence[Array]) -> Array:
    """The L2 norm of a list of arrays taken as one vector: an array () of their dtype; InputError for an empty list."""
    arrays = _checked(arrays, "global_norm")
    norm, by = scaled_global_norm(arrays)
    return as_array(namespace(norm).astype(norm / by, arrays[0].dtype, copy=False))


def clip_by_global_norm(arrays: Sequence[Array], max_norm: float) -> list[Array]:
    """A list of the arrays, all scaled by max_norm/norm when their global norm is above the number `max_norm`.

    Arrays whose norm is infinite or NaN, because an entry is, stay as they are.
    """
    if not (is_finite_number(max_norm) and max_norm > 0.0):
        raise InputError(f"clip_by_global_norm: max_norm={shown(max_norm)}: expected a number above 0")
    arrays = _checked(arrays, "clip_by_global_norm")
    norm, shrink = shrunk(*scaled_global_norm(arrays))
    xp = namespace(norm)
    one = xp.ones_like(norm)
    too_long = (norm > max_norm * shrink) & xp.isfinite(norm)
    scale = xp.where(too_long, max_norm / xp.where(too_long, norm, one), one)
    shrink, scale = joined(xp.where(too_long, shrink, one), scale)
    return [as_array(xp.astype(widened(array) * shrink * scale, array.dtype, copy=False)) for array in arrays]


def _checked(arrays, caller):
    """The arrays as a list; InputError, naming `caller`, for an empty one and for what is not an array."""
    if is_array(arrays) or not isinstance(arrays, Iterable):
        raise InputError(f"{caller}: expected a list of arrays, got {shown(arrays)}")
    arrays = list(arrays)
    if not arrays or not all(map(is_array, arrays)):
        raise InputError(f"{caller}: expected at least one array, got {[type(array).__name__ for array in arrays]}")
    return arrays
