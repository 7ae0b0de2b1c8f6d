"""Convolutions with standardized weights: modules, and bare functions of a weight."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import Framework, ModuleHandle, framework_of
from . import Adapter
from .guarded_call import guarded, guarding
from .layer_convolution import AFTER, layer_convolution_adapter
from .layer_shapes import shaped_layer_adapter
from .signatures import parameter_names
from .ws_construction import Construction
from .ws_evaluation import OUTPUT, WEIGHT, after_a_step, in_evaluation
from .ws_functions import function_adapter

GAIN_NAMES = ("gain", "g", "weight_gain", "scale", "gamma")
WEIGHT_NAMES = ("weight", "kernel", "w", "original")  # the last one is that of a parametrization
BIAS_NAMES = ("bias", "b")
GEOMETRY = ("stride", "groups", "dilation", "bias")
CHANNELS = ("in_channels", "in_features", "inplanes", "cin")


def convolution_adapter(target: Any, wish: str, options: Mapping[str, Any]) -> Adapter:
    """The Adapter; InputError for anything that is neither a class or factory of modules nor a function of a weight."""
    framework, options = framework_of(target, wish), dict(options)
    layout = options.pop("layout", framework.layout)
    if not callable(target) or layout not in ("OIHW", "HWIO"):
        raise InputError(f"ws_conv: expected something to call and a layout OIHW or HWIO, got {target!r}, {layout!r}")
    options = {**framework.further_arguments(target), **options}
    if framework.has_layers and not framework.channels_first and (
            layers := shaped_layer_adapter(target, framework, options)
            or layer_convolution_adapter(target, framework, options)):
        return layers
    if framework.has_modules and (isinstance(target, type) or _makes_modules(target)):
        return _module_adapter(target, framework, options)
    return function_adapter(target, framework, layout, options)


def _makes_modules(target):
    """Whether a function's parameters are those of a convolution's constructor."""
    names = parameter_names(target)
    return len(names) >= 3 and names[0] in CHANNELS


def _module_adapter(target, framework, options):
    """A module of two dimensions is compared in everything, any other in its standardization."""
    construction, module = _made_once(Construction.of(target, options, framework.made))
    if not framework.is_module(module):
        raise InputError(f"ws_conv: expected a module, the target made {type(module).__name__}")
    shapes = framework.module(module).parameters
    weight = max(shapes.values(), key=len, default=())
    if len(weight) == 2:
        raise InputError(f"ws_conv: expected a convolution, the weight of {type(module).__name__} has two axes "
                         f"{weight}: its function of the weight can be checked")
    made = getattr(framework.unbound_call(module), "__self__", module)
    transposed = "transpose" in type(made).__name__.lower() or getattr(made, "transposed", False)
    layer = _Layer(construction, framework, transposed, len(weight) - 2)
    if layer.dimensions == 2 and not transposed:
        fixed, notes = construction.fixed, construction.notes
        if _named(shapes, BIAS_NAMES) is None:
            fixed, notes = {**fixed, "bias": False}, (*notes, "it has no bias: compared without one")
        elif construction.names["bias"] is None:
            fixed = {**fixed, "bias": True}
        return Adapter(guarding("ws_conv", layer.run), framework, fixed, notes=notes)
    note = "not a convolution of two dimensions: its standardization alone is checked"
    return Adapter(guarding("ws_conv", layer.run_weight), framework, notes=(note,))


def _made_once(construction):
    """(the Construction, with sizes in pairs where the target takes no numbers, a module that it made)."""
    try:
        return construction, guarded("ws_conv", construction.made, 4, 4, 1)
    except InputError as error:
        in_pairs = dataclasses.replace(construction, in_pairs=True)
        try:
            return in_pairs, guarded("ws_conv", in_pairs.made, 4, 4, 1)
        except InputError:
            raise error from None


class _Layer:
    """A class or factory of convolutions; weights are OIHW, images NCHW, as in the framework's modules."""

    def __init__(self, construction: Construction, framework: Framework, transposed: bool, dimensions: int):
        self.construction, self.framework = construction, framework
        self.transposed, self.dimensions = transposed, dimensions

    def run(self, case: Any) -> Mapping[str, np.ndarray]:
        """The standardized weight, the output and every gradient."""
        arrays, framework = case.arrays, self.framework
        weight = arrays["weight"].transpose(3, 2, 0, 1)
        module = self._made(arrays["x"].shape[3], weight.shape[0], weight.shape[2],
                            **{name: case.options[name] for name in GEOMETRY if name in case.options})
        leaves = _load(module, weight, arrays)
        out, convolved = module.call_and_watch(framework.images(arrays["x"]), training=True)
        output = framework.from_images(framework.host(out))
        cotangent = framework.images(np.resize(arrays["cotangent"], output.shape))
        x_grad, grads = module.gradients(out, cotangent)
        x_grad = np.zeros(arrays["x"].shape) if x_grad is None else framework.from_images(x_grad)
        outputs = {"output": output, "gradient of x": x_grad}
        if convolved is not None and convolved.shape == weight.shape:
            outputs["standardized weight"] = convolved.transpose(2, 3, 1, 0)
        outputs[AFTER] = module.value(leaves["weight"]).transpose(2, 3, 1, 0)
        for ours, name in leaves.items():
            grad = np.zeros(module.parameters[name]) if grads[name] is None else grads[name]
            outputs[f"gradient of {ours}"] = grad.transpose(2, 3, 1, 0) if ours == "weight" else grad.reshape(-1)
        later = after_a_step(arrays["weight"]).transpose(3, 2, 0, 1)
        evaluated = in_evaluation(module, framework, leaves["weight"], framework.images(arrays["x"]), later)
        return outputs | {OUTPUT: framework.from_images(evaluated[OUTPUT]),
                          WEIGHT: evaluated[WEIGHT].transpose(2, 3, 1, 0)}

    def run_weight(self, case: Any) -> Mapping[str, np.ndarray]:
        """The standardized weight of a layer without groups; a layer of one dimension has all taps in a row."""
        arrays = case.arrays
        size, _, inputs, outputs = arrays["weight"].shape
        if self.dimensions == 3:
            raise InputError("ws_conv: layers of three dimensions cannot be checked; expected one or two")
        order = (2, 3, 0, 1) if self.transposed else (3, 2, 0, 1)
        weight = arrays["weight"].transpose(order)
        kernel = size * size if self.dimensions == 1 else size
        module = self._made(inputs, outputs, kernel)
        _load(module, weight.reshape(*weight.shape[:2], *(kernel,) * self.dimensions), arrays)
        x = np.ones((1, inputs, *(2 * kernel + 1,) * self.dimensions), dtype=weight.dtype)
        _, convolved = module.call_and_watch(x, training=True)
        if convolved is None:
            raise InputError("ws_conv: the module called no convolution of its framework, so its weight is not seen")
        return {"standardized weight": convolved.reshape(weight.shape).transpose(np.argsort(order))}

    def _made(self, inputs, outputs, kernel, **geometry):
        return self.framework.module(self.construction.made(inputs, outputs, kernel, **geometry), owned=True)


def _load(module: ModuleHandle, weight: np.ndarray, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Write weight, gain and bias into the module; {our name: the module's} of those that it has."""
    shapes = module.parameters
    leaves = {"weight": _named({name: shape for name, shape in shapes.items() if shape == weight.shape}, WEIGHT_NAMES),
              "gain": _named(shapes, GAIN_NAMES), "bias": _named(shapes, BIAS_NAMES)}
    if leaves["weight"] is None:
        raise InputError(f"ws_conv: expected a parameter `weight` {weight.shape}, the module has "
                         + (", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "no parameters"))
    leaves = {ours: name for ours, name in leaves.items() if name is not None}
    values = {**arrays, "weight": weight}
    if "gain" in leaves:  # of a transposed convolution it may be along the inputs
        values["gain"] = np.resize(arrays["gain"], math.prod(shapes[leaves["gain"]]))
    module.load({name: values[ours].reshape(shapes[name]) for ours, name in leaves.items()}, str(weight.dtype))
    return leaves


def _named(paths, names):
    """The first parameter, here or in a submodule, whose own name is one of `names`, or None."""
    return next((path for name in names for path in paths if path.rpartition(".")[2] == name), None)
