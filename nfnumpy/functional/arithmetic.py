"""Arithmetic and elementary functions, element by element, broadcasting as the array API standard does."""

from ..backend import formula, namespace


def unbroadcast(cotangent, shape):
    """Sum `cotangent` over the axes along which an input of `shape` was repeated: the transpose of broadcasting."""
    if tuple(cotangent.shape) == tuple(shape):
        return cotangent
    xp = namespace(cotangent)
    extra = cotangent.ndim - len(shape)
    repeated = tuple(range(extra)) + tuple(extra + axis for axis, size in enumerate(shape)
                                           if size == 1 and cotangent.shape[extra + axis] != 1)
    return xp.reshape(xp.sum(cotangent, axis=repeated), tuple(shape))


def masked(condition, cotangent):
    """The cotangent where the boolean array `condition` holds, 0 elsewhere, even where the cotangent is infinite."""
    xp = namespace(cotangent)
    return xp.where(condition, cotangent, xp.zeros_like(cotangent))


@formula
def add(x, y):
    """x + y."""
    return x + y


def add_x_vjp(cotangent, x_shape):
    return unbroadcast(cotangent, x_shape)


def add_y_vjp(cotangent, y_shape):
    return unbroadcast(cotangent, y_shape)


def subtract(x, y):
    """x - y."""
    return x - y


def subtract_y_vjp(cotangent, y_shape):
    return unbroadcast(-cotangent, y_shape)


def multiply(x, y):
    """x · y."""
    return x * y


def multiply_x_vjp(cotangent, y, x_shape):
    return unbroadcast(cotangent * y, x_shape)


def multiply_y_vjp(cotangent, x, y_shape):
    return unbroadcast(cotangent * x, y_shape)


def divide(x, y):
    """x / y."""
    return x / y


def divide_x_vjp(cotangent, y, x_shape):
    return unbroadcast(cotangent / y, x_shape)


def divide_y_vjp(cotangent, y, output, y_shape):
    return unbroadcast(-cotangent * output / y, y_shape)


def negative(x):
    """-x."""
    return -x


def negative_vjp(cotangent):
    return -cotangent


def cast(x, *, dtype):
    """x in another floating `dtype`, rounded to nearest; the derivative returns in x's own."""
    return namespace(x).astype(x, dtype)


def cast_vjp(cotangent, x_dtype):
    return namespace(cotangent).astype(cotangent, x_dtype)


def power(x, *, exponent):
    """x to a constant real `exponent`. Whole exponents up to 3 are products: `x**3` is some 30 times slower."""
    if exponent in (1, 2, 3):
        return (x + 0.0, x * x, x * x * x)[int(exponent) - 1]
    return x ** float(exponent)


def power_vjp(cotangent, x, *, exponent):
    return cotangent * 0.0 if exponent == 0 else cotangent * (exponent * power(x, exponent=exponent - 1))


def exp(x):
    """e to the x."""
    return namespace(x).exp(x)


def exp_vjp(cotangent, output):
    return cotangent * output


def log(x):
    """Natural logarithm."""
    return namespace(x).log(x)


def log_vjp(cotangent, x):
    return cotangent / x


def sqrt(x):
    """Square root."""
    return namespace(x).sqrt(x)


def sqrt_vjp(cotangent, output):
    return cotangent * 0.5 / output


def absolute(x):
    """|x|; its derivative at 0 is taken to be 0."""
    return namespace(x).abs(x)


def absolute_vjp(cotangent, x):
    return cotangent * namespace(x).sign(x)


def _as_arrays(x, y):
    """Both as arrays of one dtype: the standard's binary functions take no Python numbers."""
    like = x if hasattr(x, "dtype") else y
    xp = namespace(like)
    return xp, *(value if hasattr(value, "dtype") else xp.asarray(value, dtype=like.dtype) for value in (x, y))


def maximum(x, y):
    """The greater of x and y, NaN where either is; at a tie each side receives half the derivative."""
    xp, x, y = _as_arrays(x, y)
    return xp.maximum(x, y)


def minimum(x, y):
    """The lesser of x and y, NaN where either is; at a tie each side receives half the derivative."""
    xp, x, y = _as_arrays(x, y)
    return xp.minimum(x, y)


def _share_of_first(x, y, output):
    """1 where x alone was chosen, ½ at a tie, 0 where y was."""
    xp, x, y = _as_arrays(x, y)
    return 0.5 * (xp.astype(x == output, output.dtype) - xp.astype(y == output, output.dtype)) + 0.5


def extremum_x_vjp(cotangent, x, y, output, x_shape):
    """For `maximum` and `minimum` alike."""
    return unbroadcast(cotangent * _share_of_first(x, y, output), x_shape)


def extremum_y_vjp(cotangent, x, y, output, y_shape):
    return unbroadcast(cotangent * (1.0 - _share_of_first(x, y, output)), y_shape)


def clip(x, *, low, high):
    """x kept between the numbers `low` and `high`; outside them, and on them, the derivative is 0."""
    return namespace(x).clip(x, low, high)


def clip_vjp(cotangent, x, *, low, high):
    return masked((x > low) & (x < high), cotangent)


def where(condition, x, y):
    """x where the boolean array `condition` holds, else y; all three broadcast."""
    xp, x, y = _as_arrays(x, y)
    return xp.where(condition, x, y)


def where_x_vjp(cotangent, condition, x_shape):
    return unbroadcast(masked(condition, cotangent), x_shape)


def where_y_vjp(cotangent, condition, y_shape):
    xp = namespace(cotangent)
    return unbroadcast(xp.where(condition, xp.zeros_like(cotangent), cotangent), y_shape)
