"""Convolutions with standardized weights: torch modules, and bare functions of a weight."""

import functools

import numpy as np

from ...errors import InputError
from ..frameworks import framework_of
from .asking import parameter_names, parameters_of, required
from .calling import asked

GAIN_NAMES = ("gain", "g", "weight_gain", "scale")


def convolution_subject(target, wish, options):
    """(subject, notes, framework) for whatever `target` is; InputError when it is nothing that can be asked."""
    framework = framework_of(target, wish)
    layout = options.pop("layout", "OIHW" if framework.name == "torch" else "HWIO")
    if not callable(target) or layout not in ("OIHW", "HWIO"):
        raise InputError(f"ws_conv: expected something to call and a layout OIHW or HWIO, got {target!r}, {layout!r}")
    if framework.name == "torch" and (isinstance(target, type) or _makes_modules(target)):
        return *_module_subject(target, framework, options), framework
    return _function_subject(target, framework, layout, options), (f"the weight is taken to be {layout}",), framework


def _makes_modules(target):
    """Whether a function's parameters are those of a convolution's constructor."""
    names = parameter_names(target)
    return len(names) >= 3 and not {"in_channels", "in_features", "inplanes", "cin"}.isdisjoint(names[:1])


def _module_subject(target, framework, options):
    """A module of two dimensions is asked for everything, any other for its standardization."""
    torch = framework.torch
    probe = asked("ws_conv", target, 4, 4, 1, **options)
    if not isinstance(probe, torch.nn.Module):
        raise InputError(f"ws_conv: expected a torch module, the target made {type(probe).__name__}")
    weight = dict(probe.named_parameters()).get("weight")
    transposed = "transpose" in type(probe).__name__.lower() or getattr(probe, "transposed", False)
    whole = weight is not None and weight.ndim == 4 and not transposed
    subject = _whole_subject if whole else functools.partial(_weight_subject, transposed=transposed)
    notes = () if whole else ("not a convolution of two dimensions: checked for its standardization alone",)
    return functools.partial(asked, "ws_conv", functools.partial(subject, target, framework, options)), notes


def _whole_subject(target, framework, options, problem):
    """The standardized weight, the output and every gradient of a module (OIHW, NCHW)."""
    torch, arrays = framework.torch, problem.arrays
    weight = arrays["weight"].transpose(3, 2, 0, 1)
    module = target(arrays["x"].shape[3], weight.shape[0], weight.shape[2], stride=problem.options["stride"],
                    groups=problem.options["groups"], **options)
    leaves = _filled(module, framework, weight, arrays)
    x = torch.from_numpy(np.array(arrays["x"].transpose(0, 3, 1, 2))).requires_grad_()
    out, convolved = _watched(torch, module, x)
    answer = {"output": framework.host(out).transpose(0, 2, 3, 1)}
    if convolved is not None and convolved.shape == weight.shape:
        answer["standardized weight"] = framework.host(convolved).transpose(2, 3, 1, 0)
    cotangent = np.resize(arrays["cotangent"], answer["output"].shape).transpose(0, 3, 1, 2)
    out.backward(torch.from_numpy(np.array(cotangent)).to(out.dtype))
    answer["gradient of x"] = framework.host(x.grad).transpose(0, 2, 3, 1)
    for name, leaf in leaves.items():
        if leaf is not None and leaf.grad is not None:
            grad = framework.host(leaf.grad)
            answer[f"gradient of {name}"] = grad.transpose(2, 3, 1, 0) if name == "weight" else grad.reshape(-1)
    return answer


def _weight_subject(target, framework, options, problem, transposed):
    """The standardized weight of a module of any number of dimensions, without groups; one dimension has all taps."""
    torch, arrays = framework.torch, problem.arrays
    size, _, inputs, outputs = arrays["weight"].shape
    dimensions = dict(target(2, 2, 1, **options).named_parameters())["weight"].ndim - 2
    if dimensions == 3:
        raise InputError("ws_conv: layers of three dimensions cannot be asked; expected one or two")
    order = (2, 3, 0, 1) if transposed else (3, 2, 0, 1)
    weight = arrays["weight"].transpose(order)
    kernel = size * size if dimensions == 1 else size
    module = target(inputs, outputs, kernel, **options)
    _filled(module, framework, weight.reshape(*weight.shape[:2], *(kernel,) * dimensions), arrays)
    x = torch.ones((1, inputs, *(2 * kernel + 1,) * dimensions), dtype=getattr(torch, str(weight.dtype)))
    _, convolved = _watched(torch, module, x)
    if convolved is None:
        raise InputError("ws_conv: the module called no convolution of torch's, so its weight cannot be seen")
    return {"standardized weight": framework.host(convolved).reshape(weight.shape).transpose(np.argsort(order))}


def _filled(module, framework, weight, arrays):
    """The module's weight, gain and bias, or None where it has none, with the problem's values in them."""
    torch = framework.torch
    module.to(getattr(torch, str(weight.dtype))).train()
    held = dict(module.named_parameters())
    gain = next((held[name] for name in GAIN_NAMES if name in held), None)
    if held.get("weight") is None or tuple(held["weight"].shape) != weight.shape:
        raise InputError(f"ws_conv: expected a parameter `weight` {weight.shape}, the module has "
                         + ", ".join(f"{name} {tuple(value.shape)}" for name, value in held.items()))
    leaves = {"weight": held["weight"], "gain": gain, "bias": held.get("bias")}
    with torch.no_grad():
        for name, leaf in leaves.items():
            if leaf is not None:
                value = weight if name == "weight" else arrays[name]
                leaf.copy_(torch.from_numpy(np.array(value)).reshape(leaf.shape))
    return leaves


def _watched(torch, module, x):
    """(module(x), the weight of the first convolution that it called, or None)."""
    from torch.utils._python_dispatch import TorchDispatchMode
    weights = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), options=None):
            if function is torch.ops.aten.convolution.default:
                weights.append(arguments[1].detach().clone())
            return function(*arguments, **(options or {}))

    with Watch():
        out = module(x)
    return out, weights[0] if weights else None


def _function_subject(target, framework, layout, options):
    """A function of a weight, and of a gain if it asks for one (which otherwise is taken out of the question)."""
    wanted = [name for name in required(parameters_of(target)) if name not in options]

    def subject(problem):
        weight, gain = problem.arrays["weight"], problem.arrays["gain"]
        there = weight.transpose(3, 2, 0, 1) if layout == "OIHW" else weight
        shaped = gain.reshape(-1, 1, 1, 1) if layout == "OIHW" else gain
        arguments = [framework.array(there), framework.array(shaped)][:max(1, min(2, len(wanted)))]
        value, _ = framework.value_and_vjp(lambda *arrays: target(*arrays, **options), arguments, None)
        value = value.transpose(2, 3, 1, 0) if layout == "OIHW" else value
        return {"standardized weight": value * gain if len(arguments) == 1 else value}
    return functools.partial(asked, "ws_conv", subject)
