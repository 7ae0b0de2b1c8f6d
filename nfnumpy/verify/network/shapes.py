"""Parameter names and shapes of a network, also where changed rules make it wider, narrower or shorter."""

import functools
from typing import Any

from ...models import from_config
from ..variants.baselines.rules import BaselineRules
from ..variants.network import Place
from .architecture import FAMILIES, Rules
from .baselines import shapes_of

Shapes = dict[str, tuple[int, ...]]


def parameter_shapes(config: Any, rules: Rules) -> Shapes:
    """Our names -> shapes, in order, of the parameters and running statistics of a network that is built by `rules`."""
    if isinstance(rules, BaselineRules):
        return shapes_of(config, rules)
    shapes = _reference_shapes(config).copy()
    blocks = {name.split(".")[1] for name in shapes if name.startswith("blocks.")}
    for block in sorted(blocks, key=int):
        _change_block(shapes, f"blocks.{block}", config, rules)
    return shapes


@functools.lru_cache(maxsize=64)
def _reference_shapes(config):
    parameters = from_config(config, shapes_only=True).parameters()
    return {name: tuple(value.shape) for name, value in parameters.items()}


def _change_block(shapes, block, config, rules):
    grouped = [name for name in ("conv1", "conv1b") if f"{block}.{name}.weight" in shapes]
    entering = shapes[f"{block}.conv0.weight"][2]
    leaving = shapes[f"{block}.conv2.weight"][3]
    width = shapes[f"{block}.conv0.weight"][3]
    group = shapes[f"{block}.conv1.weight"][2]
    if rules.width is not None:
        exact = rules.width(entering, leaving, config, block == "blocks.0")
        width = _multiple(exact, getattr(config, "group_size", 1))
    group = rules.group(group, width, getattr(config, "group_size", width))
    group = group if width % group == 0 else width
    shapes[f"{block}.conv0.weight"] = (1, 1, entering, width)
    shapes[f"{block}.conv2.weight"] = (1, 1, width, leaving)
    for name in grouped:
        shapes[f"{block}.{name}.weight"] = (3, 3, group, width)
    for name in ("conv0", *grouped):
        for leaf in ("gain", "bias"):
            shapes[f"{block}.{name}.{leaf}"] = (width,)
    if not rules.second_3x3:
        for leaf in ("weight", "gain", "bias"):
            shapes.pop(f"{block}.conv1b.{leaf}", None)
    if f"{block}.squeeze_excite.fc0.weight" in shapes:
        place = rules.excitation_place(FAMILIES[type(config)])
        channels = width if place is Place.BEFORE_LAST_ACTIVATION else leaving
        _change_excitation(shapes, f"{block}.squeeze_excite", channels, config, rules)


def _change_excitation(shapes, name, channels, config, rules):
    hidden = rules.excitation.hidden(channels, config.se_ratio)
    shapes[f"{name}.fc0.weight"] = (channels, hidden)
    shapes[f"{name}.fc0.bias"] = (hidden,)
    shapes[f"{name}.fc1.weight"] = (hidden, channels)
    shapes[f"{name}.fc1.bias"] = (channels,)


def _multiple(exact, group):
    """Channels as a multiple of a group's, at least one group."""
    return max(1, int(exact) // group) * group
