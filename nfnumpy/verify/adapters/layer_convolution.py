"""Convolutions with standardized weights as Keras has them: (filters, kernel_size, strides=, padding=, groups=).

Classes and factories of layers, TensorFlow's modules with the number of input channels first, and functions that build
layers around a tensor. Weights are (kh, kw, in, out).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import Framework, ModuleHandle
from . import Adapter
from .guarded_call import guarding
from .layer_factories import all_parameters, builds_layers
from .signatures import first_named, required
from .ws_evaluation import after_a_step, in_evaluation

ROLES = {"inputs": ("in_channels", "input_channels", "in_features", "cin", "in_ch", "in_chs"),
         "outputs": ("filters", "out_channels", "output_channels", "out_features", "features", "num_filters", "cout",
                     "out_ch", "out_chs", "channels"),
         "kernel": ("kernel_size", "kernel_shape", "kernel", "ksize", "k"), "stride": ("strides", "stride"),
         "groups": ("groups", "num_groups", "group_count", "feature_group_count"), "padding": ("padding", "pad")}
AFTER = "weight after the call"
LEAVES = (("gain", r"gain|scale|gamma|^g$"), ("bias", r"bias|^b$|beta|offset"), ("weight", r"weight|kernel|^w$"))


def layer_convolution_adapter(target: Callable, framework: Framework, options: Mapping[str, Any]) -> Adapter | None:
    """The Adapter, with stride and groups fixed where the target has only one value; None for no such target."""
    parameters = all_parameters(target)
    free = [name for name in parameters if name not in options]
    names = {role: first_named(free, known) for role, known in ROLES.items()}
    if names["outputs"] is None or names["kernel"] is None:
        if isinstance(target, type):
            raise InputError("ws_conv: expected a layer of (filters, kernel_size), the target takes "
                             f"({', '.join(required(parameters)) or 'nothing'})")
        return None
    layer = _Layer(target, framework, names, parameters, options, builds_layers(target))
    fixed = {role: 1 for role in ("stride", "groups") if names[role] is None}
    notes = tuple(f"it takes no {role}: compared with {role} = 1" for role in fixed)
    if names["padding"] is not None:
        notes += (f"it is asked with {names['padding']} = {layer.same!r}",)
    return Adapter(guarding("ws_conv", layer.run), framework, fixed, notes=notes)


class _Layer:
    """names: role -> the target's parameter, or None; builds: whether it is a function of a tensor."""

    def __init__(self, target: Callable, framework: Framework, names: Mapping[str, str | None],
                 parameters: Mapping[str, Any], options: Mapping[str, Any], builds: bool):
        self.target, self.framework, self.names = target, framework, names
        self.options, self.builds = options, builds
        default = getattr(parameters.get(names["padding"] or ""), "default", None)
        self.same = "SAME" if isinstance(default, str) and default.isupper() else "same"

    def run(self, case: Any) -> Mapping[str, np.ndarray]:
        """The standardized weight, the output and every gradient."""
        arrays = case.arrays
        weight = arrays["weight"]
        module = self._made(arrays["x"], weight.shape, case.options)
        leaves = load(module, arrays)
        out, convolved = module.call_and_watch(arrays["x"], training=True)
        output = self.framework.host(out)
        x_grad, grads = module.gradients(out, np.resize(arrays["cotangent"], output.shape))
        outputs = {"output": output, "gradient of x": np.zeros(arrays["x"].shape) if x_grad is None else x_grad}
        if convolved is not None and convolved.shape == weight.shape:
            outputs["standardized weight"] = convolved
        outputs[AFTER] = module.value(leaves["weight"])
        for ours, name in leaves.items():
            grad = grads.get(name)  # of a variable that the layer does not know of there is none
            grad = np.zeros(arrays[ours].shape) if grad is None else grad
            outputs[f"gradient of {ours}"] = grad.reshape(arrays[ours].shape)
        return outputs | in_evaluation(module, self.framework, leaves["weight"], arrays["x"], after_a_step(weight))

    def _made(self, x, shape, geometry):
        values = {"inputs": x.shape[3], "outputs": shape[3], "kernel": shape[0], "stride": geometry["stride"],
                  "groups": geometry["groups"], "padding": self.same}
        given = {name: values[role] for role, name in self.names.items() if name is not None}
        given |= self.options
        if self.builds:
            made = self.framework.built(lambda tensor: self.target(tensor, **given), x.shape[1:])
        else:
            made = self.target(**given)
        if not self.framework.is_module(made):
            raise InputError(f"ws_conv: expected a layer, the target made {type(made).__name__}")
        module = self.framework.module(made, owned=True)
        module.build(x)
        return module


def load(module: ModuleHandle, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Write weight, gain and bias into the layer; {our name: the layer's} of those that it has."""
    shapes, leaves = {name: tuple(array.shape) for name, array in module.buffers.items()}, {}
    shapes |= dict(module.parameters)
    for name, shape in shapes.items():
        last = name.rpartition(".")[2].lower()
        for ours, pattern in LEAVES:
            if ours not in leaves and re.search(pattern, last) and np.prod(shape) == arrays[ours].size:
                leaves[ours] = name
                break
    if "weight" not in leaves or shapes[leaves["weight"]] != arrays["weight"].shape:
        raise InputError(f"ws_conv: expected a weight {arrays['weight'].shape}, the layer has "
                         + (", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "no parameters"))
    module.load({name: arrays[ours].reshape(shapes[name]) for ours, name in leaves.items()},
                str(arrays["weight"].dtype))
    return leaves
