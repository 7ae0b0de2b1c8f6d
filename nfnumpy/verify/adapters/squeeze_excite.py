"""Squeeze-and-excite: torch modules and their factories, and bare functions."""

import functools
import math

import numpy as np

from ...errors import InputError
from ..frameworks import framework_of
from .asking import parameter_names, parameters_of, required
from .calling import asked

DIVISORS = ("reduction", "reduction_ratio", "r", "red", "divisor")
WIDTHS = ("hidden", "hidden_channels", "rd_channels", "squeeze_channels", "squeezed_channels", "se_channels",
          "reduced_channels", "bottleneck")
RATIOS = ("ratio", "rd_ratio", "se_ratio", "reduction_rate", "squeeze_ratio")


def squeeze_excite_subject(target, wish, options):
    """(subject, (channels, hidden) if the target has them already or None, notes, framework)."""
    framework = framework_of(target, wish)
    if not callable(target):
        raise InputError(f"se: expected something to call, got {target!r}")
    if framework.name == "torch" and isinstance(target, framework.torch.nn.Module):
        module = target.double()
        leaves = _leaves(module)
        widths = leaves["fc0.weight"].shape[1], leaves["fc0.weight"].shape[0]
        note = f"{widths[0]} channels and a hidden width of {widths[1]} were read off the module"
        return _module_subject(lambda problem: module, framework), widths, (note,), framework
    names = parameter_names(target)
    if len(names) >= 5 and names[0] in ("x", "input", "inputs") and not isinstance(target, type):
        return _function_subject(target, framework, options), None, (), framework
    if framework.name != "torch":
        raise InputError("se: expected a torch module or its factory, or a function of (x, weight0, bias0, weight1, "
                         f"bias1), got one of ({', '.join(names)})")
    return _module_subject(_factory(target, names, options), framework), None, (), framework


def _factory(target, names, options):
    """A function of a problem that builds a module, having found out what the second argument is."""
    second = next((name for name in names[1:] if name in (*RATIOS, *DIVISORS, *WIDTHS) and name not in options), None)
    if second is None and len(names) > 1 and names[1] not in options and names[1] in required(parameters_of(target)):
        second = names[1]

    def build(problem):
        channels, ratio = problem.options["channels"], problem.options["ratio"]
        value = round(1.0 / ratio) if second in DIVISORS else max(1, int(channels * ratio)) if second in WIDTHS else \
            ratio
        return target(channels, **({second: value} if second else {}), **options)
    return build


def _leaves(module):
    """The module's four parameters by our names: two weights in order, each with the bias that follows it."""
    held = [(name, value) for name, value in module.named_parameters()]
    weights = [(name, value) for name, value in held if math.prod(value.shape) != max(value.shape, default=1)
               or value.ndim > 1]
    if len(weights) != 2:
        raise InputError("se: expected two linear layers or 1×1 convolutions, the module has "
                         + (", ".join(f"{name} {tuple(value.shape)}" for name, value in held) or "no parameters"))
    biases = {name.rpartition(".")[0]: value for name, value in held if value.ndim == 1}
    leaves = {}
    for k, (name, value) in enumerate(weights):
        leaves[f"fc{k}.weight"] = value
        if name.rpartition(".")[0] in biases:
            leaves[f"fc{k}.bias"] = biases[name.rpartition(".")[0]]
    return leaves


def _fitted(array, shape):
    """A weight (in, out) or bias as the target's `shape`, cut to it: it may be narrower than what was drawn."""
    array = array.T if array.ndim == 2 else array
    return np.ascontiguousarray(array[tuple(slice(size) for size in shape[:array.ndim])]).reshape(shape)


def _module_subject(build, framework):
    torch = framework.torch

    def subject(problem):
        arrays, dtype = problem.arrays, str(problem.arrays["x"].dtype)
        module = build(problem).to(getattr(torch, dtype)).train()
        leaves = _leaves(module)
        with torch.no_grad():
            for name, leaf in leaves.items():
                leaf.copy_(torch.from_numpy(_fitted(arrays[name], tuple(leaf.shape))))
        for leaf in leaves.values():
            leaf.grad = None
        x = torch.from_numpy(np.array(arrays["x"].transpose(0, 3, 1, 2))).requires_grad_()
        out = module(x)
        answer = {"output": framework.host(out)}
        if answer["output"].ndim == 4:
            answer["output"] = answer["output"].transpose(0, 2, 3, 1)
        cotangent = np.resize(arrays["cotangent"], answer["output"].shape)
        cotangent = cotangent.transpose(0, 3, 1, 2) if cotangent.ndim == 4 else cotangent
        out.backward(torch.from_numpy(np.array(cotangent)).to(out.dtype))
        for name, leaf in {"x": x, **leaves}.items():
            grad = np.zeros(tuple(leaf.shape)) if leaf.grad is None else framework.host(leaf.grad)
            answer[f"gradient of {name}"] = grad.transpose(0, 2, 3, 1) if name == "x" else \
                grad.reshape(grad.shape[:2]).T if grad.ndim > 1 else grad
        return answer
    return functools.partial(asked, "se", subject)


def _function_subject(target, framework, options):
    """A function of (x, weight0, bias0, weight1, bias1); in torch they are NCHW and (out, in)."""
    names = ("x", "fc0.weight", "fc0.bias", "fc1.weight", "fc1.bias")
    turned = framework.name == "torch"

    def there(name, array):
        return (array.transpose(0, 3, 1, 2) if name == "x" else array.T) if turned else array

    def back(name, array):
        return (array.transpose(0, 2, 3, 1) if name in ("x", "output") else array.T) if turned else array

    def subject(problem):
        from ..checks.se import Rules, parameters
        given = {"x": problem.arrays["x"], **parameters(problem, Rules())}
        arrays = [framework.array(np.array(there(name, given[name]))) for name in names]
        cotangent = there("x", np.resize(problem.arrays["cotangent"], given["x"].shape))
        value, grads = framework.value_and_vjp(lambda *arrays: target(*arrays, **options), arrays, cotangent)
        answer = {"output": back("output", value)}
        for name, grad in zip(names, grads or ()):
            answer[f"gradient of {name}"] = np.zeros(given[name].shape) if grad is None else back(name, grad)
        return answer
    return functools.partial(asked, "se", subject)
