"""Programs that call convolutions and squeeze-and-excites: modules of torch, and functions."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..adapters.se import LEAVES
from ..adapters.signatures import first_named, parameters_of, required
from ..adapters.ws_conv import GAIN_NAMES
from .code import Program
from .layers import convolution_layers, squeeze_excite_layers


def loading(module: str, values: Mapping[str, tuple[str, Any]]) -> list[str]:
    """Lines that write arrays into the parameters and buffers of a module of torch: {path: (expression, shape)}."""
    lines = [f"    {module}.{path}.copy_({text}{'' if shape is None else f'.reshape({shape})'})"
             for path, (text, shape) in values.items()]
    return ["with torch.no_grad():", *lines]


def shapes_of(target: Any, *arguments: Any, **options: Any) -> dict[str, tuple[int, ...]]:
    """{path: shape} of the parameters and buffers of what the target makes, those that can be written as attributes."""
    made = target(*arguments, **options)
    leaves = (*made.named_parameters(), *made.named_buffers())
    return {path: tuple(leaf.shape) for path, leaf in leaves if all(part.isidentifier() for part in path.split("."))}


def _observed(program, module, inputs, leaves):
    """Lines from the call of a module to `yours`: its output, or the gradient of the input or of a leaf."""
    what = program.tensor.removeprefix("gradient of ")
    if what == program.tensor:
        return [f"yours = {module}({inputs}).detach()"]
    names = {"x": inputs, **{ours: f"{module}.{theirs}" for ours, theirs in leaves.items()}}
    if what not in names:
        return []
    output = np.resize(program.arrays["cotangent"], _output_shape(program))
    return [f"{inputs}.requires_grad_()", f"{module}({inputs}).backward({program.literal(program.images(output))})",
            f"yours = {names[what]}.grad"]


def _output_shape(program):
    x, stride = program.arrays["x"].shape, program.options.get("stride", 1)
    last = program.arrays["weight"].shape[3] if program.verdict.kind == "ws_conv" else x[3]
    return (x[0], -(-x[1] // stride), -(-x[2] // stride), last)


def convolution_forms(program: Program, target: Any, options: Mapping[str, Any]) -> Iterator[Program]:
    """A class or factory of torch, or a function of a weight and perhaps a gain."""
    settings = {name: value for name, value in options.items() if name != "layout"}
    if not isinstance(target, type) and program.tensor == "standardized weight":
        yield _of_a_weight(program, target, settings)
    if program.framework.has_layers:
        yield from convolution_layers(program, target, options)
    if program.name == "torch":
        kernel = program.arrays["weight"].shape[0]
        paddings = ({"padding": kernel // 2}, {"padding": "same"}) if "padding" in (parameters_of(target) or {}) else ()
        for padding in ({}, *paddings):
            yield from _of_a_module(program, target, {**padding, **settings})


def _of_a_weight(program, target, settings):
    """A function that standardizes."""
    gain = program.arrays["gain"]
    gain = gain.reshape(-1, 1, 1, 1) if program.layout == "OIHW" else gain
    lines = [f"W = {program.literal(program.weight(program.arrays['weight']))}", f"gain = {program.literal(gain)}"]
    call, keywords = program.place.attribute, program.keywords(settings)
    takes_gain = sum(name not in settings for name in required(parameters_of(target))) > 1
    return program.with_lines(*lines, f"yours = {call}(W, gain{keywords})" if takes_gain
                              else f"yours = {call}(W{keywords}) * gain")


def _of_a_module(program, target, settings):
    """A convolution of torch."""
    arrays, geometry = program.arrays, {name: program.options[name] for name in ("stride", "groups")}
    size, _, fan, outputs = arrays["weight"].shape
    sizes = (fan * geometry["groups"], outputs, size)
    shapes = shapes_of(target, *sizes, **geometry, **settings)
    leaves = {"weight": "weight", "gain": first_named(shapes, GAIN_NAMES), "bias": first_named(shapes, ("bias",))}
    leaves = {ours: path for ours, path in leaves.items() if path}
    values = {**arrays, "weight": program.weight(arrays["weight"])}
    made = f"{program.place.attribute}({', '.join(map(str, sizes))}{program.keywords({**geometry, **settings})})"
    yield program.with_lines(
        *(f"{ours} = {program.literal(values[ours].reshape(shapes[path]))}" for ours, path in leaves.items()),
        f"x = {program.literal(program.images(arrays['x']))}", f"conv = {made}.to(torch.{program.dtype})",
        *loading("conv", {path: (ours, None) for ours, path in leaves.items()}),
        *_observed(program, "conv", "x", leaves))


def squeeze_excite_forms(program: Program, target: Any, options: Mapping[str, Any]) -> Iterator[Program]:
    """A class or factory of torch, or a function of (x, weight0, bias0, weight1, bias1)."""
    arrays, call, keywords = program.arrays, program.place.attribute, program.keywords(options)
    channels, ratio = program.options["channels"], program.options["ratio"]
    lines = [f"x = {program.literal(program.images(arrays['x']))}"]
    if program.tensor == "output" and not isinstance(target, type):
        hidden = program.options.get("hidden") or max(1, int(channels * ratio))
        widths = (arrays["fc0.weight"][:, :hidden], arrays["fc0.bias"][:hidden], arrays["fc1.weight"][:hidden],
                  arrays["fc1.bias"])
        leaves = [array.T if program.framework.channels_first else array for array in widths]
        names = [f"{name.partition('.')[2]}{name[2]}" for name in LEAVES]
        yield program.with_lines(*lines, *(f"{name} = {program.literal(array)}" for name, array in
                                           zip(names, leaves, strict=True)),
                                 f"yours = {call}(x, {', '.join(names)}{keywords})")
    if program.framework.has_layers:
        yield from squeeze_excite_layers(program, target, options)
    if program.name != "torch" or program.tensor != "output":
        return
    second = next((name for name in list(parameters_of(target) or {})[1:] if name not in options), None)
    hidden = max(1, int(channels * ratio))
    for value in (None, ratio, round(1.0 / ratio), hidden):
        if value is not None and second is None:
            return
        with contextlib.suppress(Exception):  # it takes the width of the hidden layer in another form
            given: dict[str, Any] = {} if value is None else {str(second): value}
            shapes = shapes_of(target, channels, **given, **options)
            made = f"{call}({channels}{program.keywords(given)}{keywords}).to(torch.{program.dtype})"
            yield program.with_lines(*lines, *_layers(program, shapes), f"module = {made}",
                                     *loading("module", _paths(shapes)), "yours = module(x).detach()")


def _layers(program, shapes):
    """Lines with the four arrays, as wide as the module's two layers are."""
    weights = [shape for shape in shapes.values() if len(shape) > 1]
    for k, shape in enumerate(weights):
        rows, columns = shape[:2]
        yield f"W{k} = {program.literal(program.arrays[f'fc{k}.weight'].T[:rows, :columns].reshape(shape))}"
        yield f"b{k} = {program.literal(program.arrays[f'fc{k}.bias'][:rows])}"


def _paths(shapes):
    """{path: (expression, None)} of the weights and the biases beside them."""
    weights = [path for path, shape in shapes.items() if len(shape) > 1]
    found = {path: (f"W{k}", None) for k, path in enumerate(weights)}
    for k, path in enumerate(weights):
        bias = f"{path.rpartition('.')[0]}.bias".removeprefix(".")
        found |= {bias: (f"b{k}", None)} if bias in shapes else {}
    return found
