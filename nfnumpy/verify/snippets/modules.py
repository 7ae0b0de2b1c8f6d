"""Programs that call convolutions, squeeze-and-excites and normalizations: modules, and functions."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..adapters.norm_runs import EVALUATION, GROUPS, ROLE_OF, ROLES, TRAINING
from ..adapters.se import LEAVES
from ..adapters.signatures import parameters_of, required
from ..adapters.ws_conv import GAIN_NAMES
from .code import Program, named
from .layers import convolution_layers, squeeze_excite_layers


def _loading(module, values):
    """Lines that write arrays into the parameters and buffers of a module of torch: {path: (expression, shape)}."""
    lines = [f"    {module}.{path}.copy_({text}{'' if shape is None else f'.reshape({shape})'})"
             for path, (text, shape) in values.items()]
    return ["with torch.no_grad():", *lines]


def _shapes(target, *arguments, **options):
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
    arrays, call = program.arrays, program.place.attribute
    parameters, settings = parameters_of(target) or {}, {k: v for k, v in options.items() if k != "layout"}
    keywords = program.keywords(settings)
    gain = arrays["gain"].reshape(-1, 1, 1, 1) if program.layout == "OIHW" else arrays["gain"]
    weights = [f"W = {program.literal(program.weight(arrays['weight']))}", f"gain = {program.literal(gain)}"]
    if not isinstance(target, type) and program.tensor == "standardized weight":
        wanted = [name for name in required(parameters) if name not in settings]
        yield program.with_lines(*weights, f"yours = {call}(W, gain{keywords})" if len(wanted) > 1
                                 else f"yours = {call}(W{keywords}) * gain")
    if program.framework.has_layers:
        yield from convolution_layers(program, target, options)
    if program.name != "torch":
        return
    size, _, fan, outputs = arrays["weight"].shape
    groups, stride = program.options["groups"], program.options["stride"]
    shapes = _shapes(target, fan * groups, outputs, size, stride=stride, groups=groups, **settings)
    gain_name = named(shapes, GAIN_NAMES)
    leaves = {"weight": "weight", **({"gain": gain_name} if gain_name else {}),
              **({"bias": "bias"} if "bias" in shapes else {})}
    own_gain = arrays["gain"].reshape(shapes[gain_name]) if gain_name else arrays["gain"]
    values = {"weight": ("W", None), gain_name: ("gain", None), "bias": ("bias", None)}
    yield program.with_lines(
        weights[0], *([f"gain = {program.literal(own_gain)}"] if gain_name else []),
        *([f"bias = {program.literal(arrays['bias'])}"] if "bias" in shapes else []),
        f"x = {program.literal(program.images(arrays['x']))}",
        f"conv = {call}({fan * groups}, {outputs}, {size}, stride={stride}, groups={groups}{keywords})"
        f".to(torch.{program.dtype})",
        *_loading("conv", {path: text for path, text in values.items() if path in leaves.values()}),
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
            shapes = _shapes(target, channels, **given, **options)
            made = f"{call}({channels}{program.keywords(given)}{keywords}).to(torch.{program.dtype})"
            yield program.with_lines(*lines, *_layers(program, shapes), f"module = {made}",
                                     *_loading("module", _paths(shapes)), "yours = module(x).detach()")


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


def norm_forms(program: Program, target: Any, options: Mapping[str, Any]) -> Iterator[Program]:
    """A class or factory of torch, or a function of x, gamma, beta and running statistics."""
    tensor, arrays, call = program.tensor, program.arrays, program.place.attribute
    trains = "evaluation" not in tensor
    if tensor not in ("output", "output in evaluation", "running mean", "running variance"):
        return
    parameters = parameters_of(target) or {}
    settings = {name: value for name, value in options.items() if name in parameters}
    channels, groups = program.options["channels"], program.options["groups"]
    x = f"x = {program.literal(program.images(arrays['x']))}"
    if not isinstance(target, type) and named(parameters, ROLES["x"]):
        roles = {role: named(parameters, names) for role, names in ROLES.items() if role != "x"}
        given = {name: role for role, name in roles.items() if name and role in arrays}
        for flag, value in ((named(parameters, TRAINING), trains), (named(parameters, EVALUATION), not trains),
                            (named(parameters, GROUPS), groups)):
            settings |= {} if flag is None else {flag: value}
        text = "".join(f", {name}={role}" for name, role in given.items())
        lines = [x, *(f"{role} = {program.literal(arrays[role])}" for role in given.values()),
                 f"result = {call}(x{text}{program.keywords(settings)})"]
        if tensor.startswith("output"):
            yield program.with_lines(*lines, "yours = result[0] if isinstance(result, tuple) else result")
            return
        position = 1 if tensor == "running mean" else 2
        yield program.with_lines(*lines, f"yours = result[{position}]")
        yield program.with_lines(*lines, f"yours = {tensor.replace(' ', '_')}")
        return
    if program.name == "torch":
        yield from _norm_modules(program, target, parameters, settings, x, trains, (channels, groups))


def _norm_modules(program, target, parameters, settings, x, trains, sizes):
    """Of (channels), or of (groups, channels)."""
    call, arrays, tensor = program.place.attribute, program.arrays, program.tensor
    keywords = program.keywords(settings)
    needs_groups = named(parameters, GROUPS)
    made = f"{call}({f'{needs_groups}={sizes[1]}, ' if needs_groups else ''}"
    first = next((name for name in parameters if name not in settings and name != needs_groups), None)
    made += f"{first}={sizes[0]}{keywords})"
    shapes = _shapes(target, **({needs_groups: sizes[1]} if needs_groups else {}), **{first: sizes[0]},
                     **settings)
    leaves = {}
    for path, shape in shapes.items():
        for role, pattern, has_three in ROLE_OF:
            if not has_three and role in arrays and re.search(pattern, path.rpartition(".")[2].lower()):
                leaves.setdefault(role, (path, shape))
                break
    values = {path: (role, None if arrays[role].shape == shape else shape) for role, (path, shape) in leaves.items()}
    lines = [x, *(f"{role} = {program.literal(arrays[role])}" for role in leaves),
             f"module = {made}.to(torch.{program.dtype}){'' if trains else '.eval()'}", *_loading("module", values)]
    if tensor.startswith("output"):
        yield program.with_lines(*lines, "yours = module(x).detach()")
    else:
        role = "running_mean" if tensor == "running mean" else "running_variance"
        yield program.with_lines(*lines, "module(x)", f"yours = module.{leaves[role][0]}")
