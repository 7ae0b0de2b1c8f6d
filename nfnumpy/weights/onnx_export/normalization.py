"""The ONNX nodes of normalizations in evaluation: with running moments, and with those of each image.

Images are (N, channels, pixels) here: ONNX's axes of height and width are taken as one.
emitter.py says what these functions take and return. Used by: model.py.
Test: reference_tests/weights/test_onnx_export.py.
"""

import math
from typing import Any

import numpy as np

from ...errors import InputError
from ...functional.group_normalization import EPS
from .arithmetic import reduced
from .emitter import Emitter, Operation
from .graph import Value


def _check_axes(x: Value, operation: str) -> None:
    """InputError unless x is (N, C) or (N, H, W, C)."""
    if len(x.shape) not in (2, 4):
        raise InputError(f"export: {operation} of an array with {len(x.shape)} axes has no ONNX form here")


def _flat(to: Emitter, x: Value, operation: str, rows: int) -> str:
    """x as (N, rows, values)."""
    _check_axes(x, operation)
    return to.graph.node("Reshape", to.graph.applied(x), to.graph.integers(0, rows, math.prod(x.shape[1:]) // rows))


def _shaped(to: Emitter, flat: str, x: Value) -> Value:
    """(N, rows, values) in the shape of x."""
    return to.node("Reshape", flat, to.graph.integers(0, x.shape[-1], *x.shape[1:-1]))


def _channels(to: Emitter, array: Any, name: str) -> str:
    """A constant (C,) as (C, 1)."""
    values, name = to.constant(array, name)
    return to.graph.constant(np.reshape(values, (-1, 1)), name)


def _affine(to: Emitter, unit: str, gamma: Any, beta: Any) -> str:
    """gamma·unit + beta for units (N, C, pixels)."""
    return to.graph.node("Add", to.graph.node("Mul", unit, _channels(to, gamma, "gamma")),
                         _channels(to, beta, "beta"))


def _mean(to: Emitter, flat: str, axis: int) -> str:
    """The mean over one axis of (N, rows, values), which stays as an axis of one."""
    return reduced(to, "ReduceMean", flat, [axis], keepdims=True).name


def _square(to: Emitter, x: str) -> str:
    return to.graph.node("Mul", x, x)


def _divided(to: Emitter, centred: str, variance: str) -> str:
    """centred/sqrt(variance), a variance that has its eps."""
    return to.graph.node("Div", centred, to.graph.node("Sqrt", variance))


def _normalize(to: Emitter, x: Value, gamma: Any, beta: Any, mean: Any, variance: Any, *, eps: float) -> Value:
    _check_axes(x, "normalize")
    given = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    constants = [to.graph.constant(*to.constant(array, name)) for name, array in given.items()]
    return to.node("BatchNormalization", to.graph.applied(x), *constants, epsilon=eps)


def _group_norm(to: Emitter, x: Value, gamma: Any, beta: Any, *, groups: int, eps: float = EPS) -> Value:
    """ONNX's own GroupNormalization came late and in two forms; every runtime has that of instances."""
    ones, zeros = (to.graph.constant(np.full(groups, value), name) for name, value in (("ones", 1.0), ("zeros", 0.0)))
    unit = to.graph.node("InstanceNormalization", _flat(to, x, "group_norm", groups), ones, zeros, epsilon=eps)
    channels = to.graph.node("Reshape", unit, to.graph.integers(0, x.shape[-1], math.prod(x.shape[1:-1])))
    return _shaped(to, _affine(to, channels, gamma, beta), x)


def _instance_norm(to: Emitter, x: Value, gamma: Any, beta: Any, *, eps: float = EPS) -> Value:
    constants = [to.graph.constant(*to.constant(array, name)) for name, array in (("gamma", gamma), ("beta", beta))]
    flat = _flat(to, x, "instance_norm", x.shape[-1])
    return _shaped(to, to.graph.node("InstanceNormalization", flat, *constants, epsilon=eps), x)


def _layer_norm(to: Emitter, x: Value, gamma: Any, beta: Any, *, over: str, eps: float = EPS) -> Value:
    if over == "image":
        return _group_norm(to, x, gamma, beta, groups=1, eps=eps)
    flat = _flat(to, x, "layer_norm", x.shape[-1])
    centred = to.graph.node("Sub", flat, _mean(to, flat, 1))
    variance = to.graph.node("Add", _mean(to, _square(to, centred), 1), to.graph.number(eps))
    return _shaped(to, _affine(to, _divided(to, centred, variance), gamma, beta), x)


def _switchable_norm(to: Emitter, x: Value, gamma: Any, beta: Any, mean_weights: Any, variance_weights: Any,
                     batch_mean: Any = None, batch_variance: Any = None, instance_mean: Any = None,
                     instance_variance: Any = None, *, eps: float = EPS, unbiased: bool = False,
                     joint_sum: Any = None) -> Value:
    """The mixture of the moments of instances and layers, which the graph computes, and of the batch, constants."""
    if batch_mean is None or instance_mean is not None:
        raise InputError("export: switchable_norm with the moments of the batch has no ONNX form here")
    flat = _flat(to, x, "switchable_norm", x.shape[-1])
    pixels = math.prod(x.shape[1:-1])
    mean = _mean(to, flat, 2)
    variance = _mean(to, _square(to, to.graph.node("Sub", flat, mean)), 2)
    if unbiased and pixels > 1:
        variance = to.graph.node("Mul", variance, to.graph.number(pixels / (pixels - 1)))
    layer_mean = _mean(to, mean, 1)
    spread = _square(to, to.graph.node("Sub", mean, layer_mean))
    layer_variance = _mean(to, to.graph.node("Add", variance, spread), 1)
    mixed_mean = _mixed(to, mean_weights, mean, layer_mean, batch_mean)
    mixed_variance = to.graph.node("Add", _mixed(to, variance_weights, variance, layer_variance, batch_variance),
                                   to.graph.number(eps))
    unit = _divided(to, to.graph.node("Sub", flat, mixed_mean), mixed_variance)
    return _shaped(to, _affine(to, unit, gamma, beta), x)


def _mixed(to: Emitter, weights: Any, instance: str, layer: str, batch: Any) -> str:
    """The sum of moments of instances (N, C, 1), layers (N, 1, 1) and the batch (C,), times the weights' softmax."""
    logits, _ = to.constant(weights, "weights")
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    shares = exponentials / exponentials.sum()
    own, of_layer = (to.graph.node("Mul", part, to.graph.number(share))
                     for part, share in zip((instance, layer), shares, strict=False))
    moments, name = to.constant(batch, "batch")
    of_batch = to.graph.constant(np.reshape(shares[2] * moments, (-1, 1)), name)
    return to.graph.node("Add", to.graph.node("Add", own, of_layer), of_batch)


NORMS: dict[str, Operation] = {
    "normalize": _normalize,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "layer_norm": _layer_norm,
    "switchable_norm": _switchable_norm,
}
