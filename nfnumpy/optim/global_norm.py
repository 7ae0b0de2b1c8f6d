"""The norm over all gradients together, and clipping by it.

Source: Pascanu et al. (2013), arXiv 1211.5063, algorithm 1.
"""

from ..backend import as_array, formula, namespace
from ..errors import InputError


@formula
def global_norm(arrays):
    """The L2 norm of a list of arrays taken as one vector: an array () of their dtype; an empty list is an error."""
    arrays = list(arrays)
    if not arrays:
        raise InputError("global_norm: expected at least one array")
    xp = namespace(arrays[0])
    squares = [xp.sum(array * array) for array in arrays]
    return as_array(xp.sqrt(sum(squares[1:], start=squares[0])))


def clip_by_global_norm(arrays, max_norm):
    """A list of the arrays, all scaled by max_norm/norm when their global norm is above the number `max_norm`."""
    if not max_norm > 0.0:
        raise InputError(f"clip_by_global_norm: max_norm={max_norm!r}: expected a number above 0")
    arrays = list(arrays)
    norm = global_norm(arrays)
    xp = namespace(norm)
    one = xp.ones_like(norm)
    scale = xp.where(norm > max_norm, max_norm / xp.where(norm > max_norm, norm, one), one)
    return [as_array(array * scale) for array in arrays]
