"""Arithmetic and elementary functions, element by element, broadcasting as the array API standard does.

Used by: ops.py, activations.py, autograd (`add`). Fast paths: fast_numpy/arithmetic.py (`add`).
Test: reference_tests/functional/test_operations_against_torch.py, test_against_pytorch_samples.py.
"""

from numpy.typing import DTypeLike

from ..backend import formula, namespace
from ..backend.arrays import Array
from ..errors import InputError
from .checks import Shape, floating_dtype, real_number, shown


def unbroadcast(cotangent: Array, shape: Shape) -> Array:
    """Sum `cotangent` over the axes along which an input of `shape` was repeated: the transpose of broadcasting."""
    if tuple(cotangent.shape) == tuple(shape):
        return cotangent
    xp = namespace(cotangent)
    extra = cotangent.ndim - len(shape)
    repeated = tuple(range(extra)) + tuple(extra + axis for axis, size in enumerate(shape)
                                           if size == 1 and cotangent.shape[extra + axis] != 1)
    return xp.reshape(xp.sum(cotangent, axis=repeated), tuple(shape))


def masked(condition: Array, cotangent: Array) -> Array:
    """The cotangent where the boolean array `condition` holds, 0 elsewhere, even where the cotangent is infinite."""
    xp = namespace(cotangent)
    return xp.where(condition, cotangent, xp.zeros_like(cotangent))


@formula
def add(x: Array | float, y: Array | float) -> Array:
    """x + y."""
    return x + y


def add_x_vjp(cotangent: Array, x_shape: Shape) -> Array:
    return unbroadcast(cotangent, x_shape)


def add_y_vjp(cotangent: Array, y_shape: Shape) -> Array:
    return unbroadcast(cotangent, y_shape)


def subtract(x: Array | float, y: Array | float) -> Array:
    """x - y."""
    return x - y


def subtract_y_vjp(cotangent: Array, y_shape: Shape) -> Array:
    return unbroadcast(-cotangent, y_shape)


def multiply(x: Array | float, y: Array | float) -> Array:
    """x · y."""
    return x * y


def multiply_x_vjp(cotangent: Array, y: Array | float, x_shape: Shape) -> Array:
    return unbroadcast(cotangent * y, x_shape)


def multiply_y_vjp(cotangent: Array, x: Array | float, y_shape: Shape) -> Array:
    return unbroadcast(cotangent * x, y_shape)


def divide(x: Array | float, y: Array | float) -> Array:
    """x / y."""
    return x / y


def divide_x_vjp(cotangent: Array, y: Array | float, x_shape: Shape) -> Array:
    return unbroadcast(cotangent / y, x_shape)


def divide_y_vjp(cotangent: Array, y: Array, output: Array, y_shape: Shape) -> Array:
    return unbroadcast(-cotangent * output / y, y_shape)


def negative(x: Array) -> Array:
    """-x."""
    return -x


def negative_vjp(cotangent: Array) -> Array:
    return -cotangent


def cast(x: Array, *, dtype: DTypeLike) -> Array:
    """x in another floating `dtype`, rounded to nearest; the derivative returns in x's own."""
    return namespace(x).astype(x, floating_dtype(dtype))


def cast_vjp(cotangent: Array, x_dtype: DTypeLike) -> Array:
    return namespace(cotangent).astype(cotangent, x_dtype)


def power(x: Array, *, exponent: float) -> Array:
    """x to a constant real `exponent`. Whole exponents up to 3 are products: `x**3` is some 30 times slower."""
    exponent = real_number(exponent, "exponent")
    if exponent in (1, 2, 3):
        return (x + 0.0, x * x, x * x * x)[int(exponent) - 1]
    return x ** exponent


def power_vjp(cotangent: Array, x: Array, *, exponent: float) -> Array:
    if exponent == 0:
        return cotangent * 0.0
    return cotangent * (exponent * power(x, exponent=exponent - 1))


def exp(x: Array) -> Array:
    """e to the x."""
    return namespace(x).exp(x)


def exp_vjp(cotangent: Array, output: Array) -> Array:
    return cotangent * output


def log(x: Array) -> Array:
    """Natural logarithm."""
    return namespace(x).log(x)


def log_vjp(cotangent: Array, x: Array) -> Array:
    return cotangent / x


def sqrt(x: Array) -> Array:
    """Square root."""
    return namespace(x).sqrt(x)


def sqrt_vjp(cotangent: Array, output: Array) -> Array:
    return cotangent * 0.5 / output


def absolute(x: Array) -> Array:
    """|x|; its derivative at 0 is taken to be 0."""
    return namespace(x).abs(x)


def absolute_vjp(cotangent: Array, x: Array) -> Array:
    return cotangent * namespace(x).sign(x)


def _as_arrays(x: Array | float, y: Array | float) -> tuple:
    """Both as arrays of one dtype: the standard's binary functions take no Python numbers."""
    like = x if hasattr(x, "dtype") else y
    if not hasattr(like, "dtype"):
        raise InputError(f"expected an array and an array or a number, got {shown(x)} and {shown(y)}")
    xp = namespace(like)
    return xp, *(value if hasattr(value, "dtype") else xp.asarray(value, dtype=like.dtype) for value in (x, y))


def maximum(x: Array | float, y: Array | float) -> Array:
    """The greater of x and y, NaN where either is; at a tie each side receives half the derivative."""
    xp, x, y = _as_arrays(x, y)
    return xp.maximum(x, y)


def minimum(x: Array | float, y: Array | float) -> Array:
    """The lesser of x and y, NaN where either is; at a tie each side receives half the derivative."""
    xp, x, y = _as_arrays(x, y)
    return xp.minimum(x, y)


def _share_of_first(x: Array | float, y: Array | float, output: Array) -> Array:
    """1 where x alone was chosen, ½ at a tie, 0 where y was."""
    xp, x, y = _as_arrays(x, y)
    return 0.5 * (xp.astype(x == output, output.dtype) - xp.astype(y == output, output.dtype)) + 0.5


def extremum_x_vjp(cotangent: Array, x: Array, y: Array | float, output: Array, x_shape: Shape) -> Array:
    """For `maximum` and `minimum` alike."""
    return unbroadcast(cotangent * _share_of_first(x, y, output), x_shape)


def extremum_y_vjp(cotangent: Array, x: Array | float, y: Array, output: Array, y_shape: Shape) -> Array:
    return unbroadcast(cotangent * (1.0 - _share_of_first(x, y, output)), y_shape)


def clip(x: Array, *, low: float | None, high: float | None) -> Array:
    """x kept between the numbers `low` and `high` (None: no bound); outside them, and on them, the derivative is 0."""
    low, high = (None if bound is None else real_number(bound, name) for bound, name in ((low, "low"), (high, "high")))
    if low is None and high is None:
        return x + 0.0
    return namespace(x).clip(x, low, high)


def clip_vjp(cotangent: Array, x: Array, *, low: float | None, high: float | None) -> Array:
    if low is None and high is None:
        return cotangent
    if low is None:
        return masked(x < high, cotangent)
    return masked(x > low if high is None else (x > low) & (x < high), cotangent)


def where(condition: Array, x: Array | float, y: Array | float) -> Array:
    """x where the boolean array `condition` holds, else y; all three broadcast."""
    xp, x, y = _as_arrays(x, y)
    if not xp.isdtype(condition.dtype, "bool"):
        raise InputError(f"where: expected a condition of booleans, got {tuple(condition.shape)} of {condition.dtype}")
    return xp.where(condition, x, y)


def where_x_vjp(cotangent: Array, condition: Array, x_shape: Shape) -> Array:
    return unbroadcast(masked(condition, cotangent), x_shape)


def where_y_vjp(cotangent: Array, condition: Array, y_shape: Shape) -> Array:
    xp = namespace(cotangent)
    return unbroadcast(xp.where(condition, xp.zeros_like(cotangent), cotangent), y_shape)


# Comparisons: arrays of booleans, without derivatives.


def equal(x: Array | float, y: Array | float) -> Array:
    """Whether x = y."""
    return x == y


def not_equal(x: Array | float, y: Array | float) -> Array:
    """Whether x ≠ y; true where either is NaN."""
    return x != y


def less(x: Array | float, y: Array | float) -> Array:
    """Whether x < y."""
    return x < y


def less_equal(x: Array | float, y: Array | float) -> Array:
    """Whether x ≤ y."""
    return x <= y


def greater(x: Array | float, y: Array | float) -> Array:
    """Whether x > y."""
    return x > y


def greater_equal(x: Array | float, y: Array | float) -> Array:
    """Whether x ≥ y."""
    return x >= y
