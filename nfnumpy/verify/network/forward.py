"""A whole network by changeable rules, part by part; by default the networks of nfnumpy.models, to the bit."""

from ... import ops
from ...autograd import Tensor
from .blocks import residual_block
from .layers import activated, convolution


def part(parameters, name, x, plan, rules, branches=None):
    """What the part `name` of a NetworkPlan makes of its input: images, activations, or pooled features; Tensors.

    branches: see residual_block.
    """
    if name == "stem":
        return stem(parameters, x, plan, rules)
    if name == "pooled features":
        return pooled_features(parameters, x, plan, rules)
    if name == "logits":
        return ops.linear(x, parameters["linear.weight"],
                          parameters["linear.bias"] if rules.head_bias == "added" else None)
    block = plan.blocks[int(name.rpartition(".")[2])]
    return residual_block(parameters, x, block, rules, branches)


def forward(parameters, images, plan, rules):
    """{part: Tensor} of images (N, H, W, in), in order."""
    x, trace = images if isinstance(images, Tensor) else Tensor(images), {}
    for name in plan.parts:
        trace[name] = x = part(parameters, name, x, plan, rules)
    return trace


def stem(parameters, x, plan, rules):
    """The convolutions before the first block, and NF-ResNet's max pool."""
    config = plan.config
    if plan.family != "NFNet":
        x = convolution(parameters, "initial_conv", x, rules, stride=config.stem_stride)
        if rules.stem_nonlinearity == "after the last convolution too":
            x = activated(x, config.activation, rules)
        if plan.family == "NFResNet" and config.stem_pool and rules.stem_pool != "left out":
            x = _max_pool(x, rules.stem_pool)
        return x
    strides = tuple(reversed(config.stem_strides)) if rules.stem_strides == "reversed" else config.stem_strides
    if rules.stem_strides == "as early as possible":
        strides = tuple(sorted(config.stem_strides, reverse=True))
    for k, stride in enumerate(strides):
        if k and rules.stem_nonlinearity != "left out":
            x = activated(x, config.activation, rules)
        x = convolution(parameters, f"stem_convs.{k}", x, rules, stride=stride)
    return activated(x, config.activation, rules) \
        if rules.stem_nonlinearity == "after the last convolution too" else x


def _max_pool(x, form):
    if form == "mean":
        return ops.avg_pool(x, window=3, stride=2)
    return ops.max_pool(x, window=3, stride=2, padding=1 if form == "symmetric" else "SAME")


def pooled_features(parameters, x, plan, rules):
    """The last block's output through the head, up to the linear layer: (N, features)."""
    if rules.final_nonlinearity == "before the final convolution":
        x = activated(x, plan.config.activation, rules)
    if plan.family != "NFResNet":
        x = convolution(parameters, "final_conv", x, rules)
    if rules.final_nonlinearity in ("after the final convolution", "after pooling too"):
        x = activated(x, plan.config.activation, rules)
    x = {"mean": ops.global_mean, "sum": lambda x: ops.sum(x, axis=(1, 2)),
         "max": lambda x: ops.max(ops.max(x, axis=1), axis=1)}[rules.head_pool](x)
    return activated(x, plan.config.activation, rules) \
        if rules.final_nonlinearity in ("after pooling", "after pooling too") else x
