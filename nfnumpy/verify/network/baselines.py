"""The networks with normalizations, Fixup and SkipInit by rules: nfnumpy.models' own objects, changed."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...autograd import Tensor
from ...models import from_config
from ...models.residual import PostActivationBlock, SumBlock
from ...nn import Mode, Module
from ..variants.baselines.rules import BaselineRules, change

MODES = {False: Mode(), True: Mode(training=True)}
FRONTS = {"stem": ("stem_convs.", "initial_"), "pooled features": ("final_",), "logits": ("linear.",)}
Slots = Mapping[str, tuple[Module, str]]


@functools.lru_cache(maxsize=64)
def network_of(config: Any, rules: BaselineRules) -> tuple[Any, Slots, frozenset[str]]:
    """(the network without values, {name of a parameter or buffer: where it is put}, the names of buffers)."""
    model = from_config(config, dtype="float64", shapes_only=True)
    model.blocks = list(model.blocks)
    change(model, rules)
    slots: dict[str, tuple[Module, str]] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor) or name in module._buffer_names:
                slots[f"{path}.{name}".lstrip(".")] = module, name
    return model, slots, frozenset(model.buffers())


def is_buffer(name: str) -> bool:
    """Whether a name of ours is that of a running statistic, which has no gradient."""
    return name.rpartition(".")[2] in ("running_mean", "running_variance")


def part(parameters: Mapping[str, Tensor], name: str, x: Tensor, config: Any, rules: BaselineRules,
         training: bool) -> Tensor:
    """The output of the part `name` of a network by `rules`; in training, normalizations take the batch in."""
    model, mode = _with_part(parameters, name, config, rules), MODES[training]
    if name == "stem":
        return model.stem(x, mode)
    if name == "pooled features":
        return rules.pooled(model.head(x, mode))
    if name == "logits":
        out = model.linear(x)
        return out if rules.head_bias else out - model.linear.bias
    return model.blocks[int(name.rpartition(".")[2])](x, mode)


def _with_part(parameters, name, config, rules):
    """The network by `rules`, with the given values in its part `name`."""
    model, slots, buffers = network_of(config, rules)
    for own, leaf in parameters.items():
        if own.startswith(fronts_of(name)) and own in slots:
            module, attribute = slots[own]
            setattr(module, attribute, leaf.data if own in buffers else leaf)
    return model


def adds(config: Any, rules: BaselineRules) -> bool:
    """Whether the network has a block that adds a branch to its shortcut."""
    return any(isinstance(block, SumBlock) for block in network_of(config, rules)[0].blocks)


def branches_in_training(parameters: Mapping[str, Tensor], name: str, x: Tensor, config: Any,
                         rules: BaselineRules) -> tuple[Tensor, Tensor, bool] | None:
    """(shortcut, branch, whether a relu follows their sum) of the block `name` in training; None if nothing is added.

    The branch is that before stochastic depth.
    """
    block = _with_part(parameters, name, config, rules).blocks[int(name.rpartition(".")[2])]
    if not isinstance(block, SumBlock):
        return None
    shortcut, residual = block.branches(x, MODES[True])
    return shortcut, residual, isinstance(block, PostActivationBlock)


def fronts_of(name: str) -> tuple[str, ...]:
    """What the names of a part's parameters and running statistics begin with."""
    return FRONTS.get(name, (f"{name}.",))


def running_statistics(config: Any, rules: BaselineRules) -> dict[str, np.ndarray]:
    """{"statistics of NAME": array} after the last pass in training."""
    _, slots, buffers = network_of(config, rules)
    return {f"statistics of {name}": np.asarray(getattr(*slots[name])) for name in slots
            if name in buffers and is_buffer(name)}


def shapes_of(config: Any, rules: BaselineRules) -> dict[str, tuple[int, ...]]:
    """The shapes of parameters and running statistics, in order."""
    model = from_config(config, shapes_only=True)
    shapes = {name: tuple(array.shape) for name, array in model.state_dict().items() if array.ndim or name in
              model.parameters()}
    if rules.hidden is not None:
        for name in [name for name in shapes if name.endswith("squeeze_excite.fc0.weight")]:
            front = name.removesuffix("fc0.weight")
            channels, hidden = shapes[name]
            width = rules.hidden(channels, hidden)
            shapes |= {f"{front}fc0.weight": (channels, width), f"{front}fc0.bias": (width,),
                       f"{front}fc1.weight": (width, channels)}
    return _in_order(shapes)


def _in_order(shapes):
    """As the layers stand: running statistics beside the gamma and beta of their normalization."""
    layers: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        layers.setdefault(name.rpartition(".")[0], {})[name] = shape
    return {name: shape for layer in layers.values() for name, shape in layer.items()}
