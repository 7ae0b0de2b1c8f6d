"""Matrix products.

Used by: ops.py, nn/, squeeze_excite.py. Fast paths: fast_numpy/linear.py, fast_cupy/linear.py. Kernel: bias.cu (and
cuBLAS). Test: reference_tests/functional/test_operations_against_torch.py, fast_numpy/test_per_image.py.
"""

from ..backend import as_array, formula, namespace
from ..backend.arrays import Array
from ..errors import InputError
from .arithmetic import unbroadcast
from .checks import Shape


def _transposed(x: Array) -> Array:
    return namespace(x).permute_dims(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def _check_matmul(x: Array, y: Array) -> None:
    if x.ndim and y.ndim and x.shape[-1] == y.shape[-2 if y.ndim > 1 else 0] and _broadcast(x.shape[:-2], y.shape[:-2]):
        return
    raise InputError(f"matmul: expected shapes (…, m, k) and (…, k, n), or a vector (k,) for one of them or both, and "
                     f"leading axes that broadcast, got {tuple(x.shape)} and {tuple(y.shape)}")


def _broadcast(x: Shape, y: Shape) -> bool:
    """Whether two shapes broadcast."""
    return all(a == b or a == 1 or b == 1 for a, b in zip(reversed(x), reversed(y), strict=False))


@formula(check=_check_matmul)
def matmul(x: Array, y: Array) -> Array:
    """Matrix product of x (…, m, k) and y (…, k, n) -> (…, m, n); leading axes broadcast.

    A vector x (k,) is one row and a vector y (k,) one column, whose axis the result does not have: (…, n), (…, m), ().
    """
    return as_array(namespace(x).matmul(x, y))


def _as_row(x: Array) -> Array:
    """A vector x (k,) as (1, k)."""
    return x[None, :] if x.ndim == 1 else x


def _as_column(y: Array) -> Array:
    """A vector y (k,) as (k, 1)."""
    return y[:, None] if y.ndim == 1 else y


def _with_vector_axes(cotangent: Array, x_ndim: int, y_ndim: int) -> Array:
    """The cotangent of a product with the axes that vectors do not have: (…, m, n)."""
    xp, shape = namespace(cotangent), tuple(cotangent.shape)
    if y_ndim == 1:
        shape = (*shape, 1)
    if x_ndim == 1:
        shape = (*shape[:-1], 1, shape[-1])
    return xp.reshape(cotangent, shape)


@formula
def matmul_x_vjp(cotangent: Array, y: Array, x_shape: Shape) -> Array:
    """cotangent·yᵀ."""
    cotangent = _with_vector_axes(cotangent, len(x_shape), y.ndim)
    product = namespace(y).matmul(cotangent, _transposed(_as_column(y)))
    if len(x_shape) > 1:
        return unbroadcast(product, x_shape)
    return namespace(y).reshape(unbroadcast(product, (1, *x_shape)), x_shape)


@formula
def matmul_y_vjp(cotangent: Array, x: Array, y_shape: Shape) -> Array:
    """xᵀ·cotangent."""
    cotangent = _with_vector_axes(cotangent, x.ndim, len(y_shape))
    product = namespace(x).matmul(_transposed(_as_row(x)), cotangent)
    if len(y_shape) > 1:
        return unbroadcast(product, y_shape)
    return namespace(x).reshape(unbroadcast(product, (*y_shape, 1)), y_shape)


def check_bias(bias: Array | None, outputs: int, name: str) -> None:
    """InputError unless `bias` is None or (outputs,): a shorter one would be repeated without a word."""
    if bias is not None and tuple(bias.shape) != (outputs,):
        raise InputError(f"{name}: expected a bias of shape {(outputs,)} or None, got {tuple(bias.shape)}")


def _check_linear(x: Array, weight: Array, bias: Array | None = None) -> None:
    if x.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[0]:
        raise InputError(f"linear: expected x (N, in) and weight (in, out), got {tuple(x.shape)} and "
                         f"{tuple(weight.shape)}")
    check_bias(bias, weight.shape[1], "linear")


@formula(check=_check_linear)
def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """x·weight + bias: x (N, in), weight (in, out), bias (out,) or None -> (N, out)."""
    product = namespace(x).matmul(x, weight)
    return product if bias is None else product + bias


@formula
def linear_x_vjp(cotangent: Array, weight: Array) -> Array:
    """cotangent·weightᵀ."""
    return namespace(weight).matmul(cotangent, _transposed(weight))


@formula
def linear_weight_vjp(cotangent: Array, x: Array) -> Array:
    """xᵀ·cotangent."""
    return namespace(x).matmul(_transposed(x), cotangent)


@formula
def bias_vjp(cotangent: Array) -> Array:
    """Of a bias added along the last axis, in `linear` and `conv2d` alike."""
    return namespace(cotangent).sum(cotangent, axis=tuple(range(cotangent.ndim - 1)))
