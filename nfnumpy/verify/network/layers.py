"""The layers of a network by rules, on Tensors; without changes, each is its operation in nfnumpy.nn, bit for bit.

`parameters` is a dict name -> Tensor in our names and layouts.
"""

from collections.abc import Mapping

from ... import ops
from ...autograd import Tensor
from ..variants.network import NetworkRules
from ..variants.squeeze_excite import excited
from ..variants.ws_conv import standardized

Parameters = Mapping[str, Tensor]


def convolution(parameters: Parameters, name: str, x: Tensor, rules: NetworkRules, *, stride: int = 1) -> Tensor:
    """The standardized convolution `name` of x (N, H, W, C); its groups follow from the shapes."""
    weight, gain = parameters[f"{name}.weight"], parameters[f"{name}.gain"]
    groups = x.shape[3] // weight.shape[2]
    kernel = standardized(weight, gain, rules.standardization, groups)
    if rules.statistics_constant:
        kernel = _with_constant_statistics(weight, kernel, gain)
    kernel = rules.kernel(kernel)
    bias = parameters[f"{name}.bias"] if rules.bias else None
    padding = rules.standardization.padding((x.shape[1], x.shape[2]), weight.shape[0], stride)
    return ops.conv2d(x, kernel, bias, stride=stride, padding=padding, dilation=1, groups=groups)


def _with_constant_statistics(weight, kernel, gain):
    """The same kernel with a derivative in which mean and variance do not depend on the weight."""
    fan_in = weight.shape[0] * weight.shape[1] * weight.shape[2]
    mean = ops.mean(weight, axis=(0, 1, 2), keepdims=True)
    variance = ops.mean((weight - mean) * (weight - mean), axis=(0, 1, 2), keepdims=True)
    norm = ops.sqrt(ops.maximum(variance * float(fan_in), 1e-4))
    loose = (weight - mean.detach()) / norm.detach() * gain
    return loose + (kernel - loose).detach()


def activated(x: Tensor, configured: str, rules: NetworkRules, scale: float = 1.0) -> Tensor:
    """scale·gamma·g(x)."""
    name = configured if rules.nonlinearity is None else rules.nonlinearity
    return ops.scaled_nonlinearity(x, name=name, scale=rules.gamma(configured, name) * scale)


def squeeze_excite(parameters: Parameters, name: str, x: Tensor, rules: NetworkRules) -> Tensor:
    """x (N, H, W, C) with its channels gated."""
    leaves = [parameters[f"{name}.{leaf}"] for leaf in ("fc0.weight", "fc0.bias", "fc1.weight", "fc1.bias")]
    return excited(x, *leaves, rules=rules.excitation)
