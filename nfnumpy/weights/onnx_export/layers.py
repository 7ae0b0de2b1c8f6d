"""The ONNX nodes of the operations that layers are made of: convolution, pooling, nonlinearities,
squeeze-and-excite, residual update.

emitter.py says what these functions take and return. Used by: model.py.
Test: reference_tests/weights/test_onnx_export.py.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from ...errors import InputError
from ...functional.convolution import conv2d_windows
from ...functional.pooling import image_windows
from ...functional.windows import Windows
from .activations import ALONG_CHANNELS, ELEMENTWISE
from .emitter import Emitter, Operation
from .graph import Value, scaled


def _channel_axis(x: Value) -> int:
    """The axis of channels in the graph."""
    return 1 if len(x.shape) == 4 else len(x.shape) - 1


def _geometry(windows: Windows) -> dict[str, Any]:
    """The attributes that place a kernel over an image. Its padding is explicit: SAME depends on the image's size."""
    (top, bottom), (left, right) = windows.padding
    return {"kernel_shape": list(windows.kernel), "strides": list(windows.stride), "pads": [top, left, bottom, right]}


def _conv2d(to: Emitter, x: Value, weight: Any, bias: Any = None, **options: Any) -> Value:
    x = to.graph.ungated(x)
    kernel, name = to.constant(weight, "conv2d")
    windows = conv2d_windows(x.shape, kernel.shape, **options)
    kernel = np.ascontiguousarray(np.transpose(kernel, (3, 2, 0, 1)))
    constants = [to.graph.constant(scaled(kernel, x.scale), name)]
    if bias is not None:
        constants.append(to.graph.constant(*to.constant(bias, "bias")))
    result = to.node("Conv", x.name, *constants, label=name.removesuffix(".weight"), dilations=list(windows.dilation),
                     group=options.get("groups", 1), **_geometry(windows))
    to.graph.register_convolution(result.name, *constants)
    return result


def _linear(to: Emitter, x: Value, weight: Any, bias: Any = None) -> Value:
    matrix, name = to.constant(weight, "linear")
    constants = [to.graph.constant(scaled(matrix, x.scale), name)]
    if bias is not None:
        constants.append(to.graph.constant(*to.constant(bias, "bias")))
    return to.node("Gemm", x.name, *constants, label=name.removesuffix(".weight"))


def _avg_pool(to: Emitter, x: Value, *, window: Any, stride: Any = None, padding: Any = "SAME") -> Value:
    x = to.graph.ungated(x)
    geometry = _geometry(image_windows(x.shape, window, stride, padding))
    pooled = to.node("AveragePool", x.name, count_include_pad=0, **geometry)
    return dataclasses.replace(pooled, scale=x.scale)


def _max_pool(to: Emitter, x: Value, *, window: Any, stride: Any = None, padding: Any = "SAME") -> Value:
    geometry = _geometry(image_windows(x.shape, window, stride, padding))
    return to.node("MaxPool", to.graph.applied(x), **geometry)


def _global_mean(to: Emitter, x: Value) -> Value:
    x = to.graph.ungated(x)
    pooled = to.graph.node("GlobalAveragePool", x.name)
    return dataclasses.replace(to.node("Flatten", pooled, axis=1), scale=x.scale)


def _squeeze_excite(to: Emitter, x: Value, weight0: Any, bias0: Any, weight1: Any, bias1: Any, *,
                    activation: str = "relu", scale: float = 2.0) -> Value:
    hidden = _linear(to, _global_mean(to, x), weight0, bias0)
    excited = _linear(to, _nonlinearity(to, hidden, name=activation), weight1, bias1)
    gate = to.graph.node("Unsqueeze", to.graph.node("Sigmoid", excited.name), to.graph.integers(2, 3))
    x = to.graph.ungated(x)
    return dataclasses.replace(x, scale=scale * x.scale, gate=gate)


def _skip_init(to: Emitter, shortcut: Value, residual: Value, skip_gain: Any, *, alpha: float) -> Value:
    factor = alpha * float(to.constant(skip_gain, "skip_init")[0])
    residual = dataclasses.replace(residual, scale=residual.scale * factor)
    residual = to.graph.scaled_at_its_source(residual)
    return to.node("Add", to.graph.applied(shortcut), to.graph.applied(residual))


def _nonlinearity(to: Emitter, x: Value, *, name: str, scale: float = 1.0) -> Value:
    applied = to.graph.applied(x)
    if name in ELEMENTWISE:
        result = ELEMENTWISE[name](to.graph, applied)
    elif name not in ALONG_CHANNELS:
        raise InputError(f"export: the nonlinearity {name!r} has no ONNX form here")
    else:
        result = ALONG_CHANNELS[name](to.graph, applied, _channel_axis(x), x.shape[-1])
    return dataclasses.replace(result, scale=result.scale * scale)


def _rectified_sum(to: Emitter, shortcut: Value, residual: Value) -> Value:
    return to.node("Relu", to.node("Add", to.graph.applied(shortcut), to.graph.applied(residual)).name)


LAYERS: dict[str, Operation] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "avg_pool": _avg_pool,
    "max_pool": _max_pool,
    "global_mean": _global_mean,
    "squeeze_excite": _squeeze_excite,
    "skip_init": _skip_init,
    "scaled_nonlinearity": _nonlinearity,
    "scaled_nonlinearity_known_by_output": _nonlinearity,
    "rectified_sum": _rectified_sum,
    **{name: functools.partial(_nonlinearity, name=name) for name in (*ELEMENTWISE, *ALONG_CHANNELS)},
}
