"""Convolutions with standardized weights as Keras has them: (filters, kernel_size, strides=, padding=, groups=).

Classes and factories of layers, TensorFlow's modules with the number of input channels first, and functions that build
layers around a tensor. Weights are (kh, kw, in, out).
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import Framework, ModuleHandle
from . import Adapter
from .guarded_call import guarded, guarding
from .layer_factories import all_parameters, builds_layers, is_its_own
from .signatures import first_named, required
from .ws_evaluation import after_a_step, in_evaluation

ROLES = {"inputs": ("in_channels", "input_channels", "in_features", "cin", "in_ch", "in_chs"),
         "outputs": ("filters", "out_channels", "output_channels", "out_features", "features", "num_filters", "cout",
                     "out_ch", "out_chs", "channels"),
         "kernel": ("kernel_size", "kernel_shape", "kernel", "ksize", "k"), "stride": ("strides", "stride"),
         "groups": ("groups", "num_groups", "group_count", "feature_group_count"), "padding": ("padding", "pad"),
         "dilation": ("dilation_rate", "dilation", "dilations"), "bias": ("use_bias", "with_bias", "has_bias", "bias")}
AFTER = "weight after the call"
LEAVES = (("gain", r"gain|scale|gamma|^g$"), ("bias", r"bias|^b$|beta|offset"), ("weight", r"weight|kernel|^w$"))


def layer_convolution_adapter(target: Callable, framework: Framework, options: Mapping[str, Any]) -> Adapter | None:
    """The Adapter, with what is fixed where the target has only one value of it; None for no such target."""
    parameters = all_parameters(target)
    free = [name for name in parameters if name not in options]
    names = {role: first_named(free, known) for role, known in ROLES.items()}
    if not is_its_own(target, names["dilation"]):  # inherited, and perhaps never meant
        names["dilation"] = None
    if names["outputs"] is None or names["kernel"] is None:
        if isinstance(target, type):
            raise InputError("ws_conv: expected a layer of (filters, kernel_size), the target takes "
                             f"({', '.join(required(parameters)) or 'nothing'})")
        return None
    layer = Layer(target, framework, names, parameters, options, builds_layers(target))
    fixed: dict[str, Any] = {role: 1 for role in ("stride", "groups", "dilation") if names[role] is None}
    notes = tuple(f"it takes no {role}: compared with {role} = 1" for role in fixed if role != "dilation")
    if not guarded("ws_conv", layer.has_bias):
        fixed, notes = {**fixed, "bias": False}, (*notes, "it has no bias: compared without one")
    elif names["bias"] is None:
        fixed["bias"] = True
    if names["padding"] is not None:
        notes += (f"it is asked with {names['padding']} = {layer.same!r}",)
    return Adapter(guarding("ws_conv", layer.run), framework, fixed, notes=notes)


class Layer:
    """names: role -> the target's parameter, or None; builds: whether it is a function of a tensor."""

    def __init__(self, target: Callable, framework: Framework, names: Mapping[str, str | None],
                 parameters: Mapping[str, Any], options: Mapping[str, Any], builds: bool):
        self.target, self.framework, self.names = target, framework, names
        self.options, self.builds, self.kernel = options, builds, parameters[names["kernel"] or ""]
        self.stride, self.dilation = (parameters.get(names[role] or "") for role in ("stride", "dilation"))
        self.form: int | None = None
        default = getattr(parameters.get(names["padding"] or ""), "default", None)
        self.same = "SAME" if isinstance(default, str) and default.isupper() else "same"

    def run(self, case: Any) -> Mapping[str, np.ndarray]:
        """The standardized weight, the output and every gradient."""
        weight = self.arranged(case.arrays["weight"], case.options["groups"])
        arrays = {**case.arrays, "weight": weight}
        module = self._made(case.arrays, case.options)
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
        outputs |= in_evaluation(module, self.framework, leaves["weight"], arrays["x"], after_a_step(weight))
        ours = case.arrays["weight"].shape
        return {name: array.reshape(ours) if array.shape == weight.shape else array for name, array in outputs.items()}

    def has_bias(self) -> bool:
        """Whether a layer that is asked for a bias has one."""
        arrays = {"x": np.zeros((1, 4, 4, 4), np.float32), "weight": np.zeros((1, 1, 4, 4), np.float32)}
        module = self._made(arrays, {"stride": 1, "groups": 1})
        shapes = {name: array.shape for name, array in module.buffers.items()} | dict(module.parameters)
        return "bias" in names_of_leaves(shapes, {"weight": 16, "gain": 4, "bias": 4})

    def arranged(self, weight: np.ndarray, groups: int) -> np.ndarray:
        """A weight (kh, kw, in/groups, out) in the layer's shape."""
        return weight

    def values(self, x: np.ndarray, weight: np.ndarray, geometry: Mapping[str, Any]) -> dict[str, Any]:
        """{role: value} of the constructor's arguments, but for the size of the kernel."""
        return {"inputs": x.shape[3], "outputs": weight.shape[3], "groups": geometry["groups"], "padding": self.same,
                "stride": _as_many(self.stride, geometry["stride"]), "bias": geometry.get("bias", True),
                "dilation": _as_many(self.dilation, geometry.get("dilation", 1))}

    def _made(self, arrays, geometry):
        x, values = arrays["x"], self.values(arrays["x"], arrays["weight"], geometry)
        forms = self.framework.kernel_sizes(self.kernel, arrays["weight"].shape[0])
        if self.form is None:
            self.form = self._form_that_works(x, values, forms)
        return self.layer(x, {**values, "kernel": forms[self.form]})

    def _form_that_works(self, x, values, forms):
        """The number of the first form of a kernel's size that the target takes; of several errors, the first."""
        errors = []
        for form, size in enumerate(forms[:-1]):
            try:
                self.layer(x, {**values, "kernel": size})
                return form
            except Exception as error:
                errors.append(error)
        try:
            self.layer(x, {**values, "kernel": forms[-1]})
            return len(forms) - 1
        except Exception as error:
            raise (*errors, error)[0] from None

    def layer(self, x: np.ndarray, values: Mapping[str, Any]) -> ModuleHandle:
        """The handle of a layer for an input like x, with its constructor's arguments by their roles."""
        given = {name: values[role] for role, name in self.names.items() if name is not None and role in values}
        given |= self.options
        if self.builds:
            made = self.framework.built(lambda tensor: self.target(tensor, **given), x.shape[1:])
        else:
            made = self.framework.made(self.target, **given)
        if not self.framework.is_module(made):
            raise InputError(f"ws_conv: expected a layer, the target made {type(made).__name__}")
        module = self.framework.module(made, owned=True)
        module.build(x)
        return module


def _as_many(parameter, value):
    """A stride as often as the parameter's default, or else its annotation, has it."""
    if parameter is None or isinstance(parameter.default, (tuple, list)):
        return value if parameter is None else (value,) * len(parameter.default)
    is_pair = re.search(r"^[\w.]*(tuple|sequence)", str(parameter.annotation), re.I)
    return (value, value) if is_pair and parameter.default is parameter.empty else value


def load(module: ModuleHandle, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Write weight, gain and bias into the layer; {our name: the layer's} of those that it has."""
    shapes = {name: tuple(array.shape) for name, array in module.buffers.items()} | dict(module.parameters)
    leaves = names_of_leaves(shapes, {ours: arrays[ours].size for ours, _ in LEAVES})
    if "weight" not in leaves or shapes[leaves["weight"]] != arrays["weight"].shape:
        raise InputError(f"ws_conv: expected a weight {arrays['weight'].shape}, the layer has "
                         + (", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "no parameters"))
    module.load({name: arrays[ours].reshape(shapes[name]) for ours, name in leaves.items()},
                str(arrays["weight"].dtype))
    return leaves


def names_of_leaves(shapes: Mapping[str, tuple[int, ...]], sizes: Mapping[str, int]) -> dict[str, str]:
    """{our name: the layer's} of weight, gain and bias; sizes: those that are known."""
    leaves: dict[str, str] = {}
    for name, shape in shapes.items():
        last = name.rpartition(".")[2].lower()
        for ours, pattern in LEAVES:
            size = math.prod(shape)
            if ours not in leaves and re.search(pattern, last) and size == sizes.get(ours, size):
                leaves[ours] = name
                break
    return leaves
