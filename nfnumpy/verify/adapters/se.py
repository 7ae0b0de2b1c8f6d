"""Squeeze-and-excite: modules and their factories, and bare functions."""

import math
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import Framework, framework_of
from . import Adapter
from .guarded_call import guarded, guarding
from .layer_factories import layer_factory
from .signatures import cannot_be_made, first_named, parameter_names, parameters_of, required

DIVISORS = ("reduction", "reduction_ratio", "r", "red", "divisor")
WIDTHS = ("hidden", "hidden_channels", "rd_channels", "squeeze_channels", "squeezed_channels", "se_channels",
          "reduced_channels", "bottleneck", "latent_channels")
RATIOS = ("ratio", "rd_ratio", "se_ratio", "reduction_rate", "squeeze_ratio")
WITHOUT_A_WIDTH = 32  # channels, for a target that chooses the hidden width itself
OUTPUTS = ("out_channels", "out_ch", "out_chs", "outplanes", "out_planes", "cout", "out_features", "filters")
WIDTH_NAMES = (*RATIOS, *DIVISORS, *WIDTHS)
IN_EVALUATION = "output in evaluation"
LEAVES = ("fc0.weight", "fc0.bias", "fc1.weight", "fc1.bias")


def squeeze_excite_adapter(target: Any, wish: str, options: Mapping[str, Any],
                           parameters: Callable[[Any], Mapping[str, np.ndarray]]) -> Adapter:
    """The Adapter; fixed channels and hidden where the target is a module that has them already.

    parameters(case): the reference's four parameters of an input case, (in, out), as wide as it makes the hidden layer.
    """
    framework = framework_of(target, wish)
    if not callable(target) and not framework.is_module(target):
        raise InputError(f"se: expected something to call, got {target!r}")
    if framework.is_module(target):
        shapes = framework.module(target).parameters
        weight = shapes[_leaves(shapes)["fc0.weight"]]
        hidden, channels = weight[:2] if framework.channels_first else weight[:-3:-1]
        note = f"{channels} channels and a hidden width of {hidden} are those of the module"
        return Adapter(guarding("se", _module_run(lambda case: target, framework)), framework,
                       {"channels": channels, "hidden": hidden}, notes=(note,))
    names = parameter_names(target)
    if len(names) >= 5 and names[0] in ("x", "input", "inputs") and not isinstance(target, type):
        return Adapter(guarding("se", _function_run(target, framework, options, parameters)), framework)
    if not framework.has_modules:
        raise InputError("se: expected a module or its factory in a framework that has modules, or a function of (x, "
                         f"weight0, bias0, weight1, bias1), got one of ({', '.join(names)})")
    options = {**framework.further_arguments(target), **options}
    if framework.has_layers:
        make = layer_factory(target, framework, options, WIDTH_NAMES, _width)
    else:
        make, takes_width = _factory(target, names, options)
        if not takes_width:
            return _of_its_own_width(make, framework)
    return Adapter(guarding("se", _module_run(make, framework)), framework)


def _of_its_own_width(make, framework):
    """The Adapter of modules that take the channels alone: compared for one number of them."""
    channels = WITHOUT_A_WIDTH
    module = guarded("se", make, types.SimpleNamespace(options={"channels": channels}))
    if not framework.is_module(module):
        raise InputError(f"se: expected a module, the target made {type(module).__name__}")
    shapes = framework.module(module).parameters
    hidden = shapes[_leaves(shapes)["fc0.weight"]][0]
    note = f"it takes no width: its own is {hidden} for {channels} channels, which are compared"
    return Adapter(guarding("se", _module_run(make, framework)), framework, {"channels": channels, "hidden": hidden},
                   notes=(note,))


def _width(name, case):
    """The value of a ratio, a divisor or a width, as the parameter's name says."""
    if name in DIVISORS:
        return round(1.0 / case.options["ratio"])
    if name in WIDTHS:
        return max(1, int(case.options["channels"] * case.options["ratio"]))
    return case.options["ratio"]


def _factory(target, names, options):
    """(a function of an input case that makes a module, whether it takes a ratio, a divisor or a width)."""
    further = [name for name in names[1:] if name not in options]
    leaving = first_named(further, OUTPUTS)
    second = first_named(further, WIDTH_NAMES)
    needed = [name for name in required(parameters_of(target)) if name in further and name not in (leaving, second)]
    if second is None and needed:
        second = needed.pop(0)
    if needed:
        raise cannot_be_made("se", needed)

    def make(case):
        channels = case.options["channels"]
        values = {leaving: channels, second: None if second is None else _width(second, case)}
        return target(channels, **{name: value for name, value in values.items() if name is not None}, **options)
    return make, second is not None or any(name in options for name in WIDTH_NAMES)


def _leaves(shapes):
    """{our name: the module's}: two weights in order, each with the bias that is beside it."""
    weights = [name for name, shape in shapes.items()
               if len(shape) > 1 or math.prod(shape) != max(shape, default=1)]
    if len(weights) != 2:
        raise InputError("se: expected two linear layers or 1×1 convolutions, the module has "
                         + (", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "no parameters"))
    leaves = {f"fc{k}.weight": name for k, name in enumerate(weights)}
    places = [name.rpartition(".")[0] for name in weights]
    biases = [name for name, shape in shapes.items() if len(shape) == 1]
    if places[0] == places[1]:  # all in one place: in order
        return {**leaves, **{f"fc{k}.bias": name for k, name in enumerate(biases)}}
    beside = {name.rpartition(".")[0]: name for name in biases}
    return {**leaves, **{f"fc{k}.bias": beside[place] for k, place in enumerate(places) if place in beside}}


def _cut(array, shape, outputs_first):
    """A weight (in, out) or bias in the target's `shape`, which may be narrower than the case's array."""
    if array.ndim == 2 and outputs_first:
        array, sizes = array.T, shape[:2]
    else:
        sizes = shape[-array.ndim:]
    return np.ascontiguousarray(array[tuple(slice(size) for size in sizes)]).reshape(shape)


def _weight_gradient(grad, outputs_first):
    """The gradient of a linear layer or 1×1 convolution as (in, out)."""
    return grad.reshape(grad.shape[:2]).T if outputs_first else grad.reshape(grad.shape[-2:])


def _module_run(make, framework):
    def run(case):
        arrays = case.arrays
        module = framework.module(make(case))
        module.build(framework.images(arrays["x"]))
        shapes = module.parameters
        leaves = _leaves(shapes)
        module.load({name: _cut(arrays[ours], shapes[name], framework.channels_first)
                     for ours, name in leaves.items()}, str(arrays["x"].dtype))
        out = module.call(framework.images(arrays["x"]), training=True)
        output = framework.from_images(framework.host(out))
        cotangent = np.resize(arrays["cotangent"], output.shape)
        x_grad, grads = module.gradients(out, framework.images(cotangent) if cotangent.ndim == 4 else cotangent)
        x_grad = np.zeros(arrays["x"].shape) if x_grad is None else framework.from_images(x_grad)
        outputs = {"output": output, "gradient of x": x_grad}
        for ours, name in leaves.items():
            grad = np.zeros(shapes[name]) if grads[name] is None else grads[name]
            outputs[f"gradient of {ours}"] = (_weight_gradient(grad, framework.channels_first)
                                               if grad.ndim > 1 else grad)
        evaluated = module.call(framework.images(arrays["x"]), training=False, with_gradients=False)
        return outputs | {IN_EVALUATION: framework.from_images(framework.host(evaluated))}
    return run


def _function_run(target: Callable, framework: Framework, options: Mapping[str, Any], parameters: Callable) -> Callable:
    """A function of (x, weight0, bias0, weight1, bias1), in the framework's layouts."""
    def to_target(name, array):
        if not framework.channels_first:
            return array
        return framework.images(array) if name == "x" else array.T

    def from_target(name, array):
        if not framework.channels_first:
            return array
        return framework.from_images(array) if name == "x" else array.T

    def run(case):
        given = {"x": case.arrays["x"], **parameters(case)}
        arrays = [framework.array(np.array(to_target(name, array))) for name, array in given.items()]
        cotangent = to_target("x", np.resize(case.arrays["cotangent"], given["x"].shape))
        value, grads = framework.value_and_vjp(lambda *arrays: target(*arrays, **options), arrays, cotangent)
        outputs = {"output": from_target("x", value)}
        for name, grad in zip(given, grads or (), strict=False):  # no gradients where there are no derivatives
            grad = np.zeros(given[name].shape) if grad is None else from_target(name, grad)
            outputs[f"gradient of {name}"] = grad
        return outputs
    return run
