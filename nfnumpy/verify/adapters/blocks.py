"""Residual blocks in torch: modules, and classes and factories that make them."""

import dataclasses
import functools

import numpy as np

from ...errors import InputError
from ...functional.activations import GAMMA
from ..frameworks import framework_of
from ..network.matching import match
from .asking import parameter_names
from .calling import asked

INPUTS = ("in_chs", "in_channels", "in_ch", "inplanes", "in_planes", "cin", "c_in", "in_features", "in_dim", "dim_in")
OUTPUTS = ("out_chs", "out_channels", "out_ch", "planes", "outplanes", "cout", "c_out", "out_features", "dim_out")
ACTIVATIONS = {"NFNet": "gelu", "NFResNet": "relu", "NFRegNet": "silu"}
GEOMETRIES = ((32, 32, 1, 1.0), (32, 48, 2, 0.9622504486493764), (32, 64, 1, 0.9805806756909201))
LEAVES = ("weight", "gain", "bias")
PARTS = {"NFNet": ("conv0", "conv1", "conv1b", "conv2"), "NFResNet": ("conv0", "conv1", "conv2"),
         "NFRegNet": ("conv0", "conv1", "conv2")}


@dataclasses.dataclass(frozen=True)
class Made:
    """A block as it was made: {our parameter's name: shape}, and the options that the reference needs."""

    module: object
    match: object
    shapes: dict
    in_channels: int
    options: dict


def block_subject(target, wish, family, activation, options):
    """(subject, the blocks that are asked as Made, notes, framework)."""
    framework = framework_of(target, wish)
    if framework.name != "torch" or not callable(target):
        raise InputError("block: expected a torch module, or a class or factory that makes one, got "
                         f"{getattr(target, '__qualname__', repr(target))} ({framework.name})")
    if family not in (None, *PARTS) or activation not in (None, *GAMMA):
        raise InputError(f"block: family={family!r}, activation={activation!r}: expected one of {', '.join(PARTS)} and "
                         f"one of {', '.join(GAMMA)}")
    if isinstance(target, framework.torch.nn.Module):
        made = (_of_module(target, family, activation, dict(options)),)
    else:
        made = _of_factory(target, framework, family, activation, options)
    by_options = {_key(each.options, each.in_channels): each for each in made}

    def subject(problem):
        each = by_options[_key(problem.options, problem.arrays["x"].shape[3])]
        return _answer(each, problem, framework)

    first = made[0]
    note = (f"taken for a block of {first.options['family']} with {first.options['activation']}; parameters matched by "
            f"{first.match.how}")
    return functools.partial(asked, "block", subject), made, (note,), framework


def _key(options, in_channels):
    return tuple(sorted(options.items())), in_channels


def _of_factory(target, framework, family, activation, options):
    names = parameter_names(target)
    first = next((name for name in names if name in INPUTS), None)
    second = next((name for name in names if name in OUTPUTS), None)
    if first is None:
        raise InputError(f"block: expected a parameter {' or '.join(INPUTS[:2])}, the target has ({', '.join(names)})")
    alpha, found = options.get("alpha", 0.2), []
    for in_channels, out_channels, stride, beta in GEOMETRIES:
        given = {first: in_channels, second: out_channels, "stride": stride, "strides": stride, "alpha": alpha,
                 "beta": beta, "expected_std": 1.0 / beta, "expected_var": beta**-2}
        module = asked("block", target, **{name: value for name, value in given.items() if name in names}, **{
            name: value for name, value in options.items() if name != "alpha"})
        if not isinstance(module, framework.torch.nn.Module):
            raise InputError(f"block: the target made a {type(module).__name__}, expected a torch module")
        if not {"beta", "expected_std", "expected_var"} & set(names):
            beta = 1.0
        found.append(_described(module, family, activation, in_channels, stride, alpha, beta))
    return tuple(found)


def _of_module(module, family, activation, options):
    """An existing module: what it does not say of itself must be given."""
    told = {name: options.pop(name, getattr(module, name, usual))
            for name, usual in (("alpha", 0.2), ("beta", 1.0), ("stride", None))}
    if options:
        raise InputError(f"block: {', '.join(options)}: of a module only alpha, beta and stride can be told")
    first = next((value for value in module.parameters() if value.ndim == 4), None)
    if first is None:
        raise InputError(f"block: {type(module).__name__} holds no convolution")
    strides = [_single(part.stride) for part in module.modules() if hasattr(part, "stride")]
    stride = max([_single(told["stride"]) or 1, *(value or 1 for value in strides)])
    return _described(module, family, activation, first.shape[1], stride, float(told["alpha"]), float(told["beta"]))


def _single(value):
    return value[0] if isinstance(value, (tuple, list)) else value


def _described(module, family, activation, in_channels, stride, alpha, beta):
    theirs = {name: tuple(value.shape) for name, value in module.named_parameters()}
    tried = []
    for each in (family,) if family else PARTS:
        for shapes in _possible_shapes(each, theirs):
            found = match(theirs, shapes, outputs_first=True)
            if found.complete:
                options = {"family": each, "stride": stride, "alpha": alpha, "beta": beta,
                           "activation": activation or ACTIVATIONS[each]}
                return Made(module, found, shapes, in_channels, options)
            tried.append((len(found.unused) + len(found.absent), found))
    least = min(tried, key=lambda pair: pair[0])[1] if tried else None
    odd = least and (least.unused or least.absent)[0]
    raise InputError("block: the target's parameters are those of no block known here"
                     + (f"; {odd} fits nowhere" if odd else "") + f"; it has {', '.join(list(theirs)[:6])} …")


def _possible_shapes(family, theirs):
    """Our shapes of a block of that family, as the target's own convolutions have them."""
    convolutions = [(shape[2], shape[1], shape[0]) for shape in theirs.values() if len(shape) == 4]
    ones = [shape for shape in convolutions if shape[0] == 1]
    threes = [shape for shape in convolutions if shape[0] == 3]
    if len(threes) != (2 if family == "NFNet" else 1):
        return
    width, group = threes[0][2], threes[0][1]
    linears = [(shape[1], shape[0]) for shape in theirs.values() if len(shape) == 2]
    for entering in {shape[1] for shape in ones}:
        for leaving in {shape[2] for shape in ones}:
            for hidden in {None, *(shape[1] for shape in linears), *(shape[2] for shape in ones)}:
                for with_shortcut in (False, True):
                    yield _shapes(family, entering, width, group, leaving, hidden, with_shortcut)


def _shapes(family, entering, width, group, leaving, hidden, with_shortcut):
    shapes = {}
    weights = {"conv_shortcut": (1, 1, entering, leaving)} if with_shortcut else {}
    weights |= {name: (3, 3, group, width) for name in PARTS[family]}
    weights |= {"conv0": (1, 1, entering, width), "conv2": (1, 1, width, leaving)}
    for name in ("conv_shortcut", *PARTS[family]):
        if name in weights:
            shapes |= {f"{name}.weight": weights[name], f"{name}.bias": weights[name][3:],
                       f"{name}.gain": weights[name][3:]}
    if hidden is not None:
        channels = width if family == "NFRegNet" else leaving
        shapes |= {"squeeze_excite.fc0.weight": (channels, hidden), "squeeze_excite.fc0.bias": (hidden,),
                   "squeeze_excite.fc1.weight": (hidden, channels), "squeeze_excite.fc1.bias": (channels,)}
    return {**shapes, "skip_gain": ()}


def _answer(made, problem, framework):
    torch, arrays = framework.torch, problem.arrays
    dtype = str(arrays["x"].dtype)
    module = made.module.to(getattr(torch, dtype)).eval()
    held = dict(module.named_parameters())
    with torch.no_grad():
        for name, our in made.match.names.items():
            held[name].copy_(torch.from_numpy(made.match.layouts[our].there(arrays[our])))
            held[name].grad = None
    x = torch.from_numpy(np.array(arrays["x"].transpose(0, 3, 1, 2))).requires_grad_()
    out = module(x)
    out = out[0] if isinstance(out, (tuple, list)) else out
    answer = {"output": framework.host(out).transpose(0, 2, 3, 1)}
    cotangent = np.resize(arrays["cotangent"], answer["output"].shape).transpose(0, 3, 1, 2)
    out.backward(torch.from_numpy(np.array(cotangent)).to(out.dtype))
    answer["gradient of x"] = framework.host(x.grad).transpose(0, 2, 3, 1)
    for name, our in made.match.names.items():
        grad = held[name].grad
        grad = np.zeros(tuple(held[name].shape)) if grad is None else framework.host(grad)
        answer[f"gradient of {our}"] = made.match.layouts[our].back(grad, made.shapes[our])
    return answer
