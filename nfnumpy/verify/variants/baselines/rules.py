"""The rules of the networks with normalizations, Fixup and SkipInit: changes of nfnumpy.models' own network objects.

A rule is None, or a function that changes a network in place; so the reference without changes is the model itself.
The known variants: catalogue.py.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from .... import nn, ops
from ....autograd import Tensor
from ....nn import EVALUATION, Mode
from ..normalization import BASES, NormRules, normalized

Change = Callable[[Any], None]


@dataclasses.dataclass(frozen=True)
class BaselineRules:
    """norm: of all normalizations, those of the first one; the others change one thing of a network each.

    hidden(channels, hidden): the hidden width of squeeze-and-excite; pooled(x): the features of the head's output.
    """

    norm: NormRules = BASES["batch"]
    norm_base: NormRules = BASES["batch"]
    nonlinearity: Change | None = None
    padding: Change | None = None
    kernels: Change | None = None
    strides: Change | None = None
    stem: Change | None = None
    stem_pool: Change | None = None
    last_activation: Change | None = None
    joined: Change | None = None
    shortcut: Change | None = None
    excitation: Change | None = None
    excitation_place: Change | None = None
    pools: Change | None = None
    order: Change | None = None
    scalars: Change | None = None
    head: Change | None = None
    pooled: Callable[[Tensor], Tensor] = ops.global_mean
    head_bias: bool = True
    hidden: Callable[[int, int], int] | None = None


UNCHANGING = ("norm", "norm_base", "pooled", "head_bias", "hidden")  # fields that are no changes of the network object
NORMS = (nn.BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm, nn.SwitchableNorm)


def norm_rules(model: Any) -> NormRules:
    """The rules of the first normalization of a network, batch normalization's where there is none."""
    layer = next((module for module in model.modules() if isinstance(module, NORMS)), None)
    if isinstance(layer, nn.BatchNorm):
        eps, decay, debiased = layer.convention.eps, layer.convention.decay, layer.convention.debiased
        return dataclasses.replace(BASES["batch"], eps=eps, decay=decay, debiased=debiased,
                                   statistics_unbiased=layer.convention.unbiased)
    if isinstance(layer, nn.LayerNorm):
        return BASES["layer" if layer.over == "image" else "layer_channels"]
    names = {nn.GroupNorm: "group", nn.InstanceNorm: "instance", nn.SwitchableNorm: "switchable"}
    return BASES[names.get(type(layer), "batch")]


class RuledNorm(nn.Module):
    """A normalization by rules, with the parameters and buffers of a layer."""

    gamma: Tensor
    beta: Tensor
    running_mean: Any
    running_variance: Any

    def __init__(self, layer: Any, rules: NormRules) -> None:
        self.rules, self.groups = rules, getattr(layer, "groups", math.gcd(32, layer.gamma.shape[0]))
        for name in ("gamma", "beta", "mean_weights", "variance_weights"):
            if hasattr(layer, name):
                setattr(self, name, getattr(layer, name))
        for name in ("running_mean", "running_variance"):
            if hasattr(layer, name):
                self.register_buffer(name, getattr(layer, name))

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        leaves = {name: getattr(self, name) for name in ("gamma", "beta", "mean_weights", "variance_weights")
                  if hasattr(self, name)}
        has_averages = hasattr(self, "running_mean")
        running = (Tensor(self.running_mean), Tensor(self.running_variance)) if has_averages else (
            self.beta.detach(), self.gamma.detach())
        out, after = normalized(x, leaves, self.rules, self.groups, running=running, training=mode.training)
        if has_averages:
            self.running_mean, self.running_variance = after
        return out


def change(model: Any, rules: BaselineRules) -> None:
    """Change a network as `rules` have it, and take away what draws random numbers."""
    for module in model.modules():
        if isinstance(module, (nn.Dropout, nn.StochasticDepth)):
            module.rate = 0.0
    for field in dataclasses.fields(rules):
        value = getattr(rules, field.name)
        if field.name not in UNCHANGING and value is not None:
            value(model)
    if rules.norm != rules.norm_base:
        for owner in list(model.modules()):
            for name, value in list(vars(owner).items()):
                if isinstance(value, NORMS):
                    setattr(owner, name, RuledNorm(value, rules.norm))
