"""Matrix products."""

from ..backend import formula, namespace
from ..errors import InputError
from .arithmetic import unbroadcast


def _transposed(x):
    return namespace(x).permute_dims(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


@formula
def matmul(x, y):
    """Matrix product of x (…, m, k) and y (…, k, n); leading axes broadcast, and both have at least two axes."""
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-2]:
        raise InputError(f"matmul: expected shapes (…, m, k) and (…, k, n), got {tuple(x.shape)} and {tuple(y.shape)}")
    return namespace(x).matmul(x, y)


@formula
def matmul_x_vjp(cotangent, y, x_shape):
    return unbroadcast(namespace(y).matmul(cotangent, _transposed(y)), x_shape)


@formula
def matmul_y_vjp(cotangent, x, y_shape):
    return unbroadcast(namespace(x).matmul(_transposed(x), cotangent), y_shape)


def check_bias(bias, outputs, name):
    """InputError unless `bias` is None or (outputs,): a shorter one would be repeated without a word."""
    if bias is not None and tuple(bias.shape) != (outputs,):
        raise InputError(f"{name}: expected a bias of shape {(outputs,)} or None, got {tuple(bias.shape)}")


@formula
def linear(x, weight, bias=None):
    """x·weight + bias: x (N, in), weight (in, out), bias (out,) or None -> (N, out)."""
    if x.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[0]:
        raise InputError(f"linear: expected x (N, in) and weight (in, out), got {tuple(x.shape)} and "
                         f"{tuple(weight.shape)}")
    check_bias(bias, weight.shape[1], "linear")
    product = namespace(x).matmul(x, weight)
    return product if bias is None else product + bias


@formula
def linear_x_vjp(cotangent, weight):
    return namespace(weight).matmul(cotangent, _transposed(weight))


@formula
def linear_weight_vjp(cotangent, x):
    return namespace(x).matmul(_transposed(x), cotangent)


@formula
def bias_vjp(cotangent):
    """Of a bias added along the last axis, in `linear` and `conv2d` alike."""
    return namespace(cotangent).sum(cotangent, axis=tuple(range(cotangent.ndim - 1)))
