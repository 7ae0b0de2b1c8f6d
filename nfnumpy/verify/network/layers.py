"""The layers of a network by changeable rules, on Tensors. By default each is its operation in nfnumpy.nn, to the bit.

`parameters` is a dict name -> Tensor in our names and layouts.
"""

from ... import ops
from ...functional.activations import GAMMA
from ..checks.se import excited
from ..checks.ws_conv import standardized

WRONG_GAMMAS = {"relu's": "relu", "gelu's": "gelu", "silu's": "silu"}


def convolution(parameters, name, x, rules, *, stride=1):
    """The standardized convolution `name` of x (N, H, W, C); its groups follow from the shapes."""
    weight = parameters[f"{name}.weight"]
    kernel = standardized(weight, parameters[f"{name}.gain"], rules.standardization)
    if rules.constant == "the statistics of standardization":
        kernel = _with_constant_statistics(weight, kernel, parameters[f"{name}.gain"])
    if rules.kernel != "as it is":
        kernel = ops.flip(kernel, axis=(0, 1)) if rules.kernel == "flipped" else \
            ops.transpose(kernel, axes=(1, 0, 2, 3))
    padding = {"SAME": "SAME", "symmetric": weight.shape[0] // 2, "none": "VALID"}[rules.standardization.padding]
    bias = parameters[f"{name}.bias"] if rules.bias == "added" else None
    return ops.conv2d(x, kernel, bias, stride=stride, padding=padding, dilation=1,
                      groups=x.shape[3] // weight.shape[2])


def _with_constant_statistics(weight, kernel, gain):
    """The same kernel, whose derivative does not know that mean and variance depend on the weight."""
    fan = weight.shape[0] * weight.shape[1] * weight.shape[2]
    centred = weight - ops.mean(weight, axis=(0, 1, 2), keepdims=True)
    norm = ops.sqrt(ops.maximum(ops.mean(centred * centred, axis=(0, 1, 2), keepdims=True) * float(fan), 1e-4))
    loose = (weight - ops.mean(weight, axis=(0, 1, 2), keepdims=True).detach()) / norm.detach() * gain
    return loose + (kernel - loose).detach()


def activated(x, configured, rules, scale=1.0):
    """scale·gamma·g(x)."""
    name = configured if rules.nonlinearity == "the configured one" else rules.nonlinearity
    if rules.gamma == "the nonlinearity's":
        gamma = GAMMA[name]
    elif rules.gamma in ("left out", "squared"):
        gamma = 1.0 if rules.gamma == "left out" else GAMMA[name]**2
    elif rules.gamma == "the configured nonlinearity's":
        gamma = GAMMA[configured]
    else:
        gamma = GAMMA[WRONG_GAMMAS[rules.gamma]]
    return ops.scaled_nonlinearity(x, name=name, scale=gamma * scale)


def squeeze_excite(parameters, name, x, rules):
    """x (N, H, W, C) with its channels gated."""
    leaves = [parameters[f"{name}.{leaf}"] for leaf in ("fc0.weight", "fc0.bias", "fc1.weight", "fc1.bias")]
    return excited(x, *leaves, rules.excitation)


def pooled(x, form):
    """x (N, H, W, C) halved: the mean of the real pixels under 2×2 windows, or what `form` calls for."""
    if form == "max":
        return ops.max_pool(x, window=2)
    if form == "padding counted":
        widths = ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0))
        return ops.avg_pool(ops.pad(x, widths=widths), window=2)
    if form == "3×3":
        return ops.avg_pool(x, window=3, stride=2)
    return ops.avg_pool(x, window=2)
