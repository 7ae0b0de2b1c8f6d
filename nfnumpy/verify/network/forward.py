"""A whole network by rules, part by part; without changes, the networks of nfnumpy.models, bit for bit."""

import functools

from ... import ops
from ...autograd import Tensor
from ...backend.arrays import Array
from ..variants.baselines.rules import BaselineRules
from ..variants.network import NetworkRules
from . import baselines
from .architecture import Architecture, Rules
from .blocks import residual_block
from .layers import Parameters, activated, convolution


def part(parameters: Parameters, name: str, x: Tensor, architecture: Architecture, rules: Rules,
         branches: dict[str, float] | None = None, training: bool = False) -> Tensor:
    """The output of the part `name` of a network for its input: images, activations, or pooled features.

    branches: see residual_block; training: whether normalizations take the moments of the batch.
    """
    if isinstance(rules, BaselineRules):
        return baselines.part(parameters, name, x, architecture.config, rules, training)
    if name == "stem":
        return stem(parameters, x, architecture, rules)
    if name == "pooled features":
        return pooled_features(parameters, x, architecture, rules)
    if name == "logits":
        bias = parameters["linear.bias"] if rules.head_bias else None
        return ops.linear(x, parameters["linear.weight"], bias)
    block = architecture.blocks[int(name.rpartition(".")[2])]
    return residual_block(parameters, x, block, rules, branches)


def forward(parameters: Parameters, images: Array | Tensor, architecture: Architecture,
            rules: Rules, training: bool = False) -> dict[str, Tensor]:
    """{part: its output} for images (N, H, W, in), in order."""
    x, trace = images if isinstance(images, Tensor) else Tensor(images), {}
    for name in architecture.parts:
        trace[name] = x = part(parameters, name, x, architecture, rules, training=training)
    return trace


def stem(parameters: Parameters, x: Tensor, architecture: Architecture, rules: NetworkRules) -> Tensor:
    """The convolutions before the first block, and NF-ResNet's max pool."""
    config = architecture.config
    activate = functools.partial(activated, configured=config.activation, rules=rules)
    if architecture.family != "NFNet":
        x = convolution(parameters, "initial_conv", x, rules, stride=config.stem_stride)
        if rules.stem_activated_end:
            x = activate(x)
        if architecture.family == "NFResNet" and config.stem_pool:
            x = rules.stem_pool(x)
        return x
    for k, stride in enumerate(rules.stem_strides(tuple(config.stem_strides))):
        if k and rules.stem_activated:
            x = activate(x)
        x = convolution(parameters, f"stem_convs.{k}", x, rules, stride=stride)
    return activate(x) if rules.stem_activated_end else x


def pooled_features(parameters: Parameters, x: Tensor, architecture: Architecture, rules: NetworkRules) -> Tensor:
    """The features (N, features) of the last block's output; an NF-ResNet has no final convolution."""
    activate = functools.partial(activated, configured=architecture.config.activation, rules=rules)

    def convolve(x):
        return x if architecture.family == "NFResNet" else convolution(parameters, "final_conv", x, rules)

    return rules.head(x, convolve, activate, rules.head_pool)
