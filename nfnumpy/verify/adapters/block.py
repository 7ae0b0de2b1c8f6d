"""Residual blocks: modules, and classes and factories that make them."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ...functional.activations import GAMMA
from ..frameworks import Framework, ModuleHandle, framework_of
from ..network.matching import Match, match
from . import Adapter, title_of
from .guarded_call import guarded, guarding
from .layer_factories import builds_layers
from .signatures import parameter_names

INPUTS = ("in_chs", "in_channels", "in_ch", "inplanes", "in_planes", "cin", "c_in", "in_features", "in_dim", "dim_in")
OUTPUTS = ("filters", "features", "output_channels", "out_chs", "out_channels", "out_ch", "planes", "outplanes", "cout",
           "c_out", "out_features", "dim_out")
ACTIVATIONS = {"NFNet": "gelu", "NFResNet": "relu", "NFRegNet": "silu"}
GEOMETRIES = ((32, 32, 1, 1.0), (32, 48, 2, 0.9622504486493764), (32, 64, 1, 0.9805806756909201))
ALPHA = 0.2
BRANCHES = {"NFNet": ("conv0", "conv1", "conv1b", "conv2"), "NFResNet": ("conv0", "conv1", "conv2"),
            "NFRegNet": ("conv0", "conv1", "conv2")}


@dataclasses.dataclass(frozen=True)
class BlockTarget:
    """One block of the target: shapes: {our parameter's name: shape}; options: those of the reference."""

    module: ModuleHandle
    match: Match
    shapes: dict[str, tuple[int, ...]]
    in_channels: int
    options: dict[str, Any]


def block_adapter(target: Any, wish: str, family: str | None, activation: str | None,
                  options: Mapping[str, Any]) -> tuple[Adapter, tuple[BlockTarget, ...]]:
    """(the Adapter, the blocks that are compared)."""
    framework = framework_of(target, wish)
    if not framework.has_modules or not (callable(target) or framework.is_module(target)):
        raise InputError("block: expected a module, or a class or factory that makes one, got "
                         f"{title_of(target)} ({framework.name})")
    if family not in (None, *BRANCHES) or activation not in (None, *GAMMA):
        raise InputError(f"block: family={family!r}, activation={activation!r}: expected one of {', '.join(BRANCHES)} "
                         f"and one of {', '.join(GAMMA)}")
    if framework.is_module(target):
        blocks = (_of_module(target, framework, family, activation, dict(options)),)
    else:
        blocks = tuple(_of_factory(target, framework, family, activation, options))
    by_options = {_key(block.options, block.in_channels): block for block in blocks}

    def run(case):
        return _run(by_options[_key(case.options, case.arrays["x"].shape[3])], case, framework)

    first = blocks[0]
    note = (f"recognized as a block of {first.options['family']} with {first.options['activation']}; parameters "
            f"matched by {first.match.how}")
    return Adapter(guarding("block", run), framework, notes=(note,)), blocks


def _key(options, in_channels):
    return tuple(sorted(options.items())), in_channels


def _of_factory(target, framework, family, activation, options):
    """The blocks of all GEOMETRIES."""
    names = parameter_names(target)
    first = next((name for name in names if name in INPUTS), None)
    second = next((name for name in names if name in OUTPUTS), None)
    if first is None and not framework.has_layers:
        raise InputError(f"block: expected a parameter {' or '.join(INPUTS[:2])}, the target has ({', '.join(names)})")
    alpha = options.get("alpha", ALPHA)
    others = {**framework.further_arguments(target),
              **{name: value for name, value in options.items() if name != "alpha"}}
    for in_channels, out_channels, stride, beta in GEOMETRIES:
        known = {first: in_channels, second: out_channels, "stride": stride, "strides": stride, "alpha": alpha,
                 "beta": beta, "expected_std": 1.0 / beta, "expected_var": beta**-2}
        given = {**{name: value for name, value in known.items() if name in names}, **others}
        if framework.has_layers and builds_layers(target):
            module = guarded("block", _built, framework, target, given, in_channels)
        else:
            module = guarded("block", framework.made, target, **given)
        if not framework.is_module(module):
            raise InputError(f"block: the target made a {type(module).__name__}, expected a module")
        if not {"beta", "expected_std", "expected_var"} & set(names):
            beta = 1.0
        handle = framework.module(module)
        guarded("block", handle.build, framework.images(np.zeros((1, 6, 6, in_channels), np.float32)))
        yield _described(handle, family, activation, in_channels, stride, alpha, beta, framework.channels_first)


def _built(framework, target, options, in_channels):
    """The network that a function builds on a tensor of any size, or else of 6 × 6 pixels."""
    def function(x):
        return target(x, **options)

    try:
        return framework.built(function, (None, None, in_channels))
    except Exception:  # it may compute with the size
        return framework.built(function, (6, 6, in_channels))


def _of_module(module, framework, family, activation, options):
    """A module that exists; alpha, beta and stride are its attributes, or options."""
    alpha, beta, stride = (options.pop(name, getattr(module, name, usual))
                           for name, usual in (("alpha", ALPHA), ("beta", 1.0), ("stride", 1)))
    if options:
        raise InputError(f"block: {', '.join(options)}: of a module only alpha, beta and stride can be given")
    handle = framework.module(module)
    first = next((shape for shape in _outputs_first(handle.parameters, framework.channels_first).values()
                  if len(shape) == 4), None)
    if first is None and not framework.has_layers:
        raise InputError(f"block: {type(module).__name__} has no convolution")
    stride = stride[0] if isinstance(stride, (tuple, list)) else stride
    stride = max([stride or 1, *handle.strides])
    return _described(handle, family, activation, first[1], stride, float(alpha), float(beta),
                      framework.channels_first)


def _outputs_first(shapes, is_so):
    """{name: shape} of weights as OIHW and (out, in)."""
    order = {4: (3, 2, 0, 1), 2: (1, 0)}
    return {name: shape if is_so or len(shape) not in order else tuple(shape[axis] for axis in order[len(shape)])
            for name, shape in shapes.items()}


def _described(module, family, activation, in_channels, stride, alpha, beta, outputs_first):
    """The BlockTarget of a module: the first family and shapes whose parameters match completely."""
    theirs, tried = module.parameters, []
    for each in (family,) if family else BRANCHES:
        for shapes in _possible_shapes(each, _outputs_first(theirs, outputs_first)):
            found = match(theirs, shapes, outputs_first=outputs_first)
            if found.complete:
                options = {"family": each, "stride": stride, "alpha": alpha, "beta": beta,
                           "activation": activation or ACTIVATIONS[each]}
                return BlockTarget(module, found, shapes, in_channels, options)
            tried.append(found)
    nearest = min(tried, key=lambda found: len(found.unused) + len(found.absent), default=None)
    odd = f"; {(nearest.unused or nearest.absent)[0]} matches nothing" if nearest else ""
    raise InputError(f"block: the target's parameters are those of no block known here{odd}; it has "
                     f"{', '.join(list(theirs)[:6])} …")


def _possible_shapes(family: str, theirs: Mapping[str, tuple[int, ...]]) -> Iterator[dict[str, tuple[int, ...]]]:
    """Our shapes of a block of that family, with the widths of the target's own convolutions."""
    convolutions = [(shape[2], shape[1], shape[0]) for shape in theirs.values() if len(shape) == 4]
    ones = [shape for shape in convolutions if shape[0] == 1]
    threes = [shape for shape in convolutions if shape[0] == 3]
    if len(threes) != (2 if family == "NFNet" else 1):
        return
    width, group = threes[0][2], threes[0][1]
    linears = [shape[0] for shape in theirs.values() if len(shape) == 2]
    hidden_widths = {None, *linears, *(shape[2] for shape in ones)}
    for entering in {shape[1] for shape in ones}:
        for leaving in {shape[2] for shape in ones}:
            for hidden in hidden_widths:
                for with_shortcut in (False, True):
                    yield _shapes(family, entering, width, group, leaving, hidden, with_shortcut)


def _shapes(family, entering, width, group, leaving, hidden, with_shortcut):
    weights = {"conv_shortcut": (1, 1, entering, leaving)} if with_shortcut else {}
    weights |= dict.fromkeys(BRANCHES[family], (3, 3, group, width))
    weights |= {"conv0": (1, 1, entering, width), "conv2": (1, 1, width, leaving)}
    shapes = {}
    for name in ("conv_shortcut", *BRANCHES[family]):
        if name in weights:
            shapes |= {f"{name}.weight": weights[name], f"{name}.bias": weights[name][3:],
                       f"{name}.gain": weights[name][3:]}
    if hidden is not None:
        channels = width if family == "NFRegNet" else leaving
        shapes |= {"squeeze_excite.fc0.weight": (channels, hidden), "squeeze_excite.fc0.bias": (hidden,),
                   "squeeze_excite.fc1.weight": (hidden, channels), "squeeze_excite.fc1.bias": (channels,)}
    return {**shapes, "skip_gain": ()}


def _run(block: BlockTarget, case: Any, framework: Framework) -> dict[str, np.ndarray]:
    arrays, module = case.arrays, block.module
    names, layouts = block.match.names, block.match.layouts
    theirs = {name: layouts[our].to_target(arrays[our]) for name, our in names.items()}
    module.load(theirs, str(arrays["x"].dtype))
    out = module.call(framework.images(arrays["x"]), training=False)
    out = out[0] if isinstance(out, (tuple, list)) else out
    outputs = {"output": framework.from_images(framework.host(out))}
    cotangent = framework.images(np.resize(arrays["cotangent"], outputs["output"].shape))
    x_grad, grads = module.gradients(out, cotangent)
    x_grad = np.zeros(arrays["x"].shape) if x_grad is None else framework.from_images(x_grad)
    outputs["gradient of x"] = x_grad
    for name, our in names.items():
        grad = grads[name]
        grad = np.zeros(layouts[our].shape) if grad is None else grad
        outputs[f"gradient of {our}"] = layouts[our].from_target(grad, block.shapes[our])
    return outputs
