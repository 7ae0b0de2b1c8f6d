"""PyTorch's own sample inputs of its operators, and the nfnumpy operations in PyTorch's signatures.

The samples are those with which PyTorch tests itself (`op_db`, in the installed wheel). A function of TABLE takes a
sample as the PyTorch operator does, with its tensors as nfnumpy Tensors, and computes it by nfnumpy's operations; or it
raises DoesNotApply with one of the REASONS why nfnumpy has no such call, or means something else by it.
"""

import functools
import sys
import types
import unittest
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import numpy as np
import torch

from nfnumpy import Tensor, ops

REASONS = {
    "array": "an exponent, a bound, a slope or a position that is an array: here these are numbers",
    "variant": "a scale, a base or a reduction that the operation here does not have",
    "axis": "works along the last axis only here",
    "indices": "positions in lists or arrays: basic slices only here, every value at most once",
    "cast": "whole numbers beside float64 become float64 in PyTorch; here nothing is cast silently",
    "negative": "negative widths, which cut: here padding only adds",
    "legacy": "PyTorch leaves out empty vectors of any shape when it concatenates",
    "batch": "a linear layer here takes rows (N, in)",
    "ceil": "a last window that leaves the image: here every window starts inside",
    "dilation": "windows of pooling have no gaps here",
    "divisor": "padding counts in PyTorch's average, or the divisor is given: here it is the number of real pixels",
    "two results": "indices beside the values (which a sample without them compares)",
    "target": "classes left out or weighed",
    "bins": "average pooling to sizes that do not divide the image's, or more than its mean",
    "random": "masks drawn by PyTorch",
    "eps": "an eps that is not above 0",
    "empty": "the mean over no example, NaN in PyTorch, is an error here",
}


class DoesNotApply(Exception):
    """A sample that is no call of the operation here; the argument is a key of REASONS."""


def unless(condition: Any, reason: str) -> None:
    """DoesNotApply for that reason, unless the condition holds."""
    if not condition:
        raise DoesNotApply(reason)


@functools.cache
def operators() -> dict[str, Any]:
    """PyTorch's operators, by name and variant. Their module imports a package that only PyTorch's own tests use.

    The import takes seconds: the tests call this when they run, so that one of two test processes imports it.
    """
    stand_in = types.ModuleType("expecttest")
    stand_in.TestCase = unittest.TestCase
    sys.modules.setdefault("expecttest", stand_in)
    with mock.patch.object(torch.backends, "disable_global_flags"):  # called on import; the bench sets global flags
        from torch.testing._internal.common_methods_invocations import op_db
    return {f"{operator.name}.{operator.variant_test_name}".rstrip("."): operator for operator in op_db}


# ---- how PyTorch calls them


def same(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Operations that differ in their names at most."""
    return lambda *inputs: operation(*inputs)


def swapped(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x, y: operation(y, x)


def scaled(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """add and sub, whose second input may have a factor."""
    return lambda x, y, alpha=1: operation(x, y if alpha == 1 else ops.multiply(y, alpha))


def rsub(x: Tensor, y: Any, alpha: float = 1) -> Tensor:
    return ops.subtract(y, x if alpha == 1 else ops.multiply(x, alpha))


def power(x: Any, exponent: Any) -> Tensor:
    unless(isinstance(exponent, (int, float)) or exponent.data.size == 1, "array")
    return ops.power(x, exponent=float(exponent)).reshape(np.broadcast_shapes(np.shape(x), np.shape(exponent)))


def clamp(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Bounds that are arrays are those of maximum and minimum; their derivatives differ at ties, where none is."""
    if hasattr(min, "dtype") or hasattr(max, "dtype"):
        bounds = [bound for bound in (min, max) if bound is not None]
        unless(all(bound.dtype == x.dtype for bound in bounds), "cast")
        x = x if min is None else ops.maximum(x, min)
        return x if max is None else ops.minimum(x, max)
    return ops.clip(x, low=min, high=max)


def clamp_max(x: Tensor, max: Any) -> Tensor:
    return clamp(x, max=max)


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    return ops.clip(x, low=min_val, high=max_val)


def cast(dtype: str) -> Callable[..., Tensor]:
    return lambda x, memory_format=None: ops.cast(x, dtype=dtype)


def reduction(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """PyTorch reduces everything where `dim` is empty."""
    def reduce(x: Tensor, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
        return operation(x, axis=None if dim == () else dim, keepdims=keepdim)
    return reduce


def extreme(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """max and min of PyTorch: of everything, along one axis (with indices), or of two arrays."""
    return lambda x, dim=None, keepdim=False: operation(x, axis=dim, keepdims=keepdim)


def variance(x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, correction: Any = 1) -> Tensor:
    """Divided by count - correction in PyTorch: times count/(count - correction) of what it is here."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    correction = (1 if unbiased else 0) if correction in (1, None) else correction
    one = ops.variance(x, axis=dim, keepdims=keepdim)
    count = x.data.size / max(one.data.size, 1)
    return one if not correction else one * (count / (count - correction))


def reshape(x: Tensor, *shape: Any) -> Tensor:
    return x.reshape(*shape)


def permute(x: Tensor, dims: Sequence[int]) -> Tensor:
    return ops.transpose(x, axes=dims)


def transpose(x: Tensor, first: int, second: int) -> Tensor:
    order = list(range(x.ndim))
    if order:
        order[first], order[second] = order[second], order[first]
    return ops.transpose(x, axes=order)


def expand(x: Tensor, *shape: Any) -> Tensor:
    """-1 keeps a size, and counts from the end."""
    shape = shape[0] if isinstance(shape[0], (tuple, list)) else shape
    sizes = (1,) * (len(shape) - x.ndim) + tuple(x.shape)
    return ops.broadcast_to(x, shape=tuple(old if new == -1 else new for new, old in zip(shape, sizes, strict=True)))


def flip(x: Tensor, dims: Sequence[int]) -> Tensor:
    return ops.flip(x, axis=dims)


def getitem(x: Tensor, index: Any) -> Tensor:
    parts = index if isinstance(index, tuple) else (index,)
    unless(all(part is None or part is Ellipsis or (isinstance(part, (int, slice)) and not isinstance(part, bool))
               for part in parts), "indices")
    return x[index]


def sliced(x: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Tensor:
    return x[(slice(None),) * (dim % x.ndim) + (slice(start, end, step),)]


def narrow(x: Tensor, dim: int, start: Any, length: int) -> Tensor:
    unless(isinstance(start, int), "array")
    return sliced(x, dim, start, start + length) if start >= 0 else sliced(x, dim, x.shape[dim] + start,
                                                                             x.shape[dim] + start + length)


def select(x: Tensor, dim: int, index: int) -> Tensor:
    return x[(slice(None),) * (dim % x.ndim) + (index,)]


def pad(x: Tensor, widths: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """PyTorch begins with the last axis."""
    unless(min(widths) >= 0, "negative")
    pairs = list(zip(widths[::2], widths[1::2], strict=True))
    frame = [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]
    return ops.pad(x, widths=frame, value=0.0 if value is None else value)


def constant_pad(x: Tensor, widths: Sequence[int], value: float = 0.0) -> Tensor:
    return pad(x, widths, value=value)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    ranks = {tensor.ndim for tensor in tensors}
    unless(len(ranks) == 1, "legacy")
    return ops.concatenate(tensors, axis=dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    return ops.stack(tensors, axis=dim)


# ---- nonlinearities


def activation(operation: Callable[..., Tensor], **constants: float) -> Callable[..., Tensor]:
    """With constants that are the ones of the operation here."""
    def activate(x: Tensor, *positional: Any, inplace: bool = False, **given: float) -> Tensor:
        given.update(zip(constants, positional, strict=False))
        unless(all(constants.get(name) == value for name, value in given.items()), "variant")
        return operation(x)
    return activate


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    return ops.gelu(x) if approximate == "tanh" else ops.gelu_erf(x)


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """A straight line above the threshold in PyTorch."""
    unless(threshold >= 20.0, "variant")
    return ops.softplus(x * beta) / beta


def along_last(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Along another axis by transposing."""
    def along(x: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
        unless(x.ndim, "axis")
        return transpose(operation(transpose(x, dim, -1)), dim, -1)
    return along


# ---- layers, in PyTorch's order of axes


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    unless(x.ndim == 2 and weight.ndim == 2, "batch")
    return ops.linear(x, weight.transpose(), bias)


def channels_last(x: Tensor) -> Tensor:
    return ops.transpose(x, axes=(0, 2, 3, 1))


def channels_first(x: Tensor) -> Tensor:
    return ops.transpose(x, axes=(0, 3, 1, 2))


def on_images(operation: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """An operation on (N, H, W, C) applied to (N, C, H, W), or to one image (C, H, W)."""
    if x.ndim == 3:
        return on_images(operation, x[None])[0]
    return channels_first(operation(channels_last(x)))


def frame(padding: Any) -> Any:
    """PyTorch's padding: a name, a number, or a number for each axis."""
    if isinstance(padding, str):
        return padding.upper()
    sides = (padding,) if isinstance(padding, int) else tuple(padding)
    vertical, horizontal = sides * 2 if len(sides) == 1 else sides
    return (vertical, vertical), (horizontal, horizontal)


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
           dilation: Any = 1, groups: int = 1) -> Tensor:
    kernel = ops.transpose(weight, axes=(2, 3, 1, 0))
    options = {"stride": stride, "padding": frame(padding), "dilation": dilation, "groups": groups}
    return on_images(lambda image: ops.conv2d(image, kernel, bias, **options), x)


def both(value: Any) -> tuple[int, int]:
    values = (value, value) if isinstance(value, int) else tuple(value)
    return values * 2 if len(values) == 1 else values


def is_covered(x: Tensor, window: Any, stride: Any, padding: Any) -> bool:
    """Whether rounding the size of the output up or down is the same."""
    sizes = zip(x.shape[-2:], both(window), both(stride), both(padding), strict=True)
    return all((size + 2 * edge - k) % s == 0 for size, k, s, edge in sizes)


def max_pool(x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
             ceil_mode: bool = False, return_indices: bool = False) -> Tensor:
    unless(both(dilation) == (1, 1), "dilation")
    unless(not return_indices, "two results")
    stride = stride or kernel_size
    unless(not ceil_mode or is_covered(x, kernel_size, stride, padding), "ceil")
    return on_images(lambda image: ops.max_pool(image, window=kernel_size, stride=stride, padding=frame(padding)), x)


def avg_pool(x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
             count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:
    unless(divisor_override is None and not (count_include_pad and any(both(padding))), "divisor")
    stride = stride or kernel_size
    unless(not ceil_mode or is_covered(x, kernel_size, stride, padding), "ceil")
    return on_images(lambda image: ops.avg_pool(image, window=kernel_size, stride=stride, padding=frame(padding)), x)


def adaptive_avg_pool(x: Tensor, output_size: Any) -> Tensor:
    """Equal bins are windows without overlap; one bin is the global mean."""
    wanted = both(output_size) if isinstance(output_size, int) else tuple(output_size)
    sizes = [size if want is None else want for want, size in zip(wanted, x.shape[-2:], strict=True)]
    unless(all(size % want == 0 for want, size in zip(sizes, x.shape[-2:], strict=True)), "bins")
    if sizes == [1, 1] and x.ndim == 4:
        return ops.global_mean(channels_last(x)).reshape(*x.shape[:2], 1, 1)
    window = [size // want for want, size in zip(sizes, x.shape[-2:], strict=True)]
    return on_images(lambda image: ops.avg_pool(image, window=window, padding="VALID"), x)


def along_second(operation: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """An operation on (…, C) applied to (N, C, …)."""
    if x.ndim < 3:
        return operation(x)
    last = ops.transpose(x, axes=(0, *range(2, x.ndim), 1))
    return ops.transpose(operation(last), axes=(0, x.ndim - 1, *range(1, x.ndim - 1)))


def affine(x: Tensor, gamma: Any, beta: Any, channels: int) -> tuple[Any, Any]:
    """gamma and beta (channels,), ones and zeros where they are not given."""
    dtype = x.dtype
    return np.ones(channels, dtype) if gamma is None else gamma, np.zeros(channels, dtype) if beta is None else beta


def batch_norm(x: Tensor, mean: Any = None, variance: Any = None, gamma: Any = None, beta: Any = None,
               training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """Without running statistics, or in training, those of the batch."""
    unless(x.ndim > 1, "empty")
    unless(eps > 0.0, "eps")
    gamma, beta = affine(x, gamma, beta, x.shape[1])
    if training or mean is None:
        return along_second(lambda x: ops.batch_norm(x, gamma, beta, eps=eps), x)
    return along_second(lambda x: ops.normalize(x, gamma, beta, mean.detach(), variance.detach(), eps=eps), x)


def group_norm(x: Tensor, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    unless(eps > 0.0, "eps")
    unless(len(x), "empty")
    gamma, beta = affine(x, weight, bias, x.shape[1])
    return along_second(lambda x: ops.group_norm(x, gamma, beta, groups=groups, eps=eps), x)


def layer_norm(x: Tensor, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Over several axes by making them one; every value has a gamma and beta of its own in PyTorch."""
    unless(eps > 0.0, "eps")
    unless(len(x), "empty")
    rows = x.reshape(-1, int(np.prod(shape)))
    gamma, beta = affine(x, weight, bias, rows.shape[1])
    gamma, beta = (ops.reshape(array, shape=(-1,)) for array in (gamma, beta))
    return ops.layer_norm(rows, gamma, beta, over="channels", eps=eps).reshape(*x.shape)


def instance_norm(x: Tensor, weight: Any = None, bias: Any = None, eps: float = 1e-5, **running: Any) -> Tensor:
    gamma, beta = affine(x, weight, bias, x.shape[1])
    return along_second(lambda x: ops.instance_norm(x, gamma, beta, eps=eps), x)


def rows_of_classes(logits: Tensor) -> Tensor:
    """PyTorch's logits (C,), (N, C) or (N, C, …) as rows (N', C)."""
    if logits.ndim == 1:
        return logits[None]
    return transpose(logits, 1, -1).reshape(-1, logits.shape[1]) if logits.ndim == 3 else ops.transpose(
        logits, axes=(0, *range(2, logits.ndim), 1)).reshape(-1, logits.shape[1])


def cross_entropy(logits: Tensor, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Tensor:
    unless(len(logits), "empty")
    unless(reduction != "none", "variant")
    unless(weight is None, "target")
    rows = rows_of_classes(logits)
    if isinstance(target, Tensor):
        target = rows_of_classes(target.detach()).data
    else:
        target = np.asarray(target).reshape(-1)
        unless(not np.any(target == ignore_index), "target")
    loss = ops.softmax_cross_entropy(rows, target, label_smoothing=label_smoothing)
    return loss * rows.shape[0] if reduction == "sum" else loss


def binary_cross_entropy(logits: Tensor, target: Any, weight: Any = None, reduction: str = "mean",
                         pos_weight: Any = None) -> Tensor:
    """A mean over all values, where here it is a sum over the classes of a row."""
    unless(weight is None and pos_weight is None, "target")
    unless(reduction != "none", "variant")
    loss = ops.sigmoid_cross_entropy(logits.reshape(1, -1), target.data.reshape(1, -1))
    return loss if reduction == "sum" else loss / logits.data.size


def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    unless(training and p == 0.0, "random")
    return ops.dropout(x, x.data * 0.0 + 1.0, rate=p)


F = "nn.functional."
TABLE: dict[str, dict[str, Callable[..., Tensor]]] = {  # operation here -> operators of PyTorch
    "add": {"add": scaled(ops.add), "__radd__": swapped(ops.add)},
    "subtract": {"sub": scaled(ops.subtract), "rsub": rsub, "__rsub__": swapped(ops.subtract)},
    "multiply": {"mul": same(ops.multiply), "__rmul__": swapped(ops.multiply)},
    "divide": {"div.no_rounding_mode": same(ops.divide), "true_divide": same(ops.divide),
               "__rdiv__": swapped(ops.divide)},
    "negative": {"neg": same(ops.negative)},
    "cast": {"double": cast("float64"), "float": cast("float32"), "half": cast("float16")},
    "power": {"pow": power, "float_power": power, "__rpow__": lambda x, y: power(y, x), "square": lambda x: x ** 2,
              "reciprocal": lambda x: x ** -1, "rsqrt": lambda x: x ** -0.5},
    "exp": {"exp": same(ops.exp)},
    "log": {"log": same(ops.log)},
    "sqrt": {"sqrt": same(ops.sqrt)},
    "absolute": {"abs": same(ops.absolute)},
    "maximum": {"maximum": same(ops.maximum), "max.binary": same(ops.maximum), "clamp_min": clamp},
    "minimum": {"minimum": same(ops.minimum), "min.binary": same(ops.minimum), "clamp_max": clamp_max},
    "clip": {"clamp": clamp, F + "hardtanh": hardtanh},
    "where": {"where": lambda x, condition, y: ops.where(condition, x, y)},
    "erf": {"erf": same(ops.erf)},
    "sum": {"sum": reduction(ops.sum)},
    "mean": {"mean": reduction(ops.mean)},
    "variance": {"var": variance, "var.unbiased": variance},
    "max": {"amax": reduction(ops.max), "max.reduction_no_dim": extreme(ops.max),
            "max.reduction_with_dim": extreme(ops.max)},
    "min": {"amin": reduction(ops.min), "min.reduction_no_dim": extreme(ops.min),
            "min.reduction_with_dim": extreme(ops.min)},
    "reshape": {"reshape": reshape, "view": reshape, "ravel": lambda x: x.reshape(-1)},
    "transpose": {"permute": permute, "transpose": transpose, "T": lambda x: x.transpose(),
                  "t": lambda x: x.transpose()},
    "broadcast_to": {"broadcast_to": expand, "expand": expand},
    "flip": {"flip": flip, "fliplr": lambda x: flip(x, (1,)), "flipud": lambda x: flip(x, (0,))},
    "take_slice": {"__getitem__": getitem, "narrow": narrow, "select": select, "slice": sliced},
    "pad": {F + "pad.constant": pad, "constant_pad_nd": constant_pad},
    "concatenate": {"cat": cat},
    "stack": {"stack": stack},
    "identity": {"clone": activation(ops.identity, memory_format=None)},
    "relu": {F + "relu": activation(ops.relu)},
    "relu6": {F + "relu6": activation(ops.relu6)},
    "leaky_relu": {F + "leaky_relu": activation(ops.leaky_relu, negative_slope=0.01)},
    "gelu": {F + "gelu": gelu},
    "gelu_erf": {F + "gelu": gelu},
    "silu": {F + "silu": activation(ops.silu)},
    "elu": {F + "elu": activation(ops.elu, alpha=1.0)},
    "celu": {F + "celu": activation(ops.celu, alpha=1.0)},
    "selu": {F + "selu": activation(ops.selu)},
    "sigmoid": {"sigmoid": activation(ops.sigmoid)},
    "log_sigmoid": {F + "logsigmoid": activation(ops.log_sigmoid)},
    "softplus": {F + "softplus": softplus, F + "logsigmoid": lambda x: -ops.softplus(-x)},
    "softsign": {F + "softsign": activation(ops.softsign)},
    "tanh": {"tanh": activation(ops.tanh)},
    "glu": {F + "glu": along_last(ops.glu)},
    "softmax": {"softmax": along_last(ops.softmax), "softmax.with_dtype": along_last(ops.softmax)},
    "log_softmax": {"log_softmax": along_last(ops.log_softmax), "log_softmax.with_dtype": along_last(ops.log_softmax)},
    "matmul": {"matmul": same(ops.matmul), "__rmatmul__": swapped(ops.matmul), "mm": same(ops.matmul),
               "bmm": same(ops.matmul), "mv": same(ops.matmul), "dot": same(ops.matmul)},
    "linear": {F + "linear": linear},
    "conv2d": {F + "conv2d": conv2d},
    "avg_pool": {F + "avg_pool2d": avg_pool, F + "adaptive_avg_pool2d": adaptive_avg_pool},
    "max_pool": {F + "max_pool2d": max_pool},
    "global_mean": {F + "adaptive_avg_pool2d": adaptive_avg_pool},
    "normalize": {F + "batch_norm": batch_norm},
    "batch_norm": {F + "batch_norm": batch_norm, F + "batch_norm.without_cudnn": batch_norm},
    "group_norm": {F + "group_norm": group_norm},
    "layer_norm": {F + "layer_norm": layer_norm},
    "instance_norm": {F + "instance_norm": instance_norm},
    "dropout": {F + "dropout": dropout},
    "softmax_cross_entropy": {F + "cross_entropy": cross_entropy},
    "sigmoid_cross_entropy": {F + "binary_cross_entropy_with_logits": binary_cross_entropy},
    "equal": {"eq": same(ops.equal)},
    "not_equal": {"ne": same(ops.not_equal)},
    "less": {"lt": same(ops.less)},
    "less_equal": {"le": same(ops.less_equal)},
    "greater": {"gt": same(ops.greater)},
    "greater_equal": {"ge": same(ops.greater_equal)},
}
NO_GRADIENT = {  # inputs of PyTorch's operators, by position, that have a derivative there and none here
    "pow": {1}, "float_power": {1}, "__rpow__": {0}, F + "cross_entropy": {1},
    F + "binary_cross_entropy_with_logits": {1},
}
NOT_IN_PYTORCH = {"scaled_nonlinearity", "scaled_nonlinearity_known_by_output", "rectified_sum", "activated_batch_norm",
                  "standardize_weight", "plain_standardize_weight", "switchable_norm", "squeeze_excite",
                  "skip_init", "stochastic_depth"}
