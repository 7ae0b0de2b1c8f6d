"""The network that a target is meant to be, and the match of its parameters, from their shapes."""

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ...errors import InputError
from ...models import config_of, names
from ..variants import KnownVariant, apply, combinations
from .architecture import base_rules, catalogues_of
from .baselines import is_buffer
from .matching import Match, Shapes, match
from .shapes import parameter_shapes

SHARE = 0.6  # of the named network's parameters whose sizes the target must have to be recognized as that network


@dataclasses.dataclass(frozen=True)
class Recognition:
    """config: of the network that is meant; match: of the parameters; variants: those in which the target's parameter
    shapes differ from that network's.
    """

    config: Any
    match: Match
    variants: tuple[KnownVariant, ...]


def recognize(theirs: Shapes, *, outputs_first: bool, config: Any = None,
              given: Mapping[str, str] | None = None) -> Recognition:
    """The Recognition of {their parameter's name: shape}; config: the network's, or None for the nearest named one.

    InputError, which names what is missing, where no network with at most two known variants has these shapes.
    """
    config = _nearest(theirs) if config is None else config
    found = match(theirs, parameter_shapes(config, base_rules(config)), outputs_first=outputs_first, given=given)
    if found.complete:
        return Recognition(config, found, ())
    for variants in combinations(catalogues_of(config).of_shapes):
        shapes = parameter_shapes(config, apply(base_rules(config), variants))
        if not _could_fit(theirs, shapes):
            continue
        other = match(theirs, shapes, outputs_first=outputs_first, given=given)
        if other.complete:
            return Recognition(config, other, variants)
    if len(found.absent) > (1 - SHARE) * len(found.layouts):
        raise InputError(_misfit(theirs, config, found))
    return Recognition(config, found, ())


def _could_fit(theirs, ours):
    """Whether all large tensors of both have the same sizes."""
    large = [Counter(math.prod(shape) for shape in shapes.values() if len([n for n in shape if n != 1]) > 1)
             for shapes in (theirs, ours)]
    return large[0] == large[1]


def name_of(config: Any) -> str:
    """The named variant of a configuration with any number of classes, else the name of its class."""
    classes = config.num_classes
    return next((name for name in names() if config_of(name, num_classes=classes) == config), type(config).__name__)


def _misfit(theirs, config, found):
    odd = next(iter(found.unused), None)
    return (f"model: the target's {len(theirs)} parameters are not those of {name_of(config)}: {len(found.absent)} of "
            f"ours are missing, such as {found.absent[0]}"
            + (f", and {len(found.unused)} fit nowhere, such as {odd} {tuple(theirs[odd])}" if odd else "")
            + "; option variant= names another network, --map assigns the parameters by name")


def _in_common(one, other):
    """The share of the sizes in either that are in both."""
    return sum((one & other).values()) / max(sum(one.values()), sum(other.values()))


@functools.cache
def _own_shapes(name):
    return parameter_shapes(config_of(name), base_rules(config_of(name)))


def _nearest(theirs):
    """The configuration of the named variant that has most sizes in common, with the target's number of classes."""
    sizes = Counter(math.prod(shape) for shape in theirs.values())
    best, most = None, 0.0
    for name in names():
        shapes = _own_shapes(name)
        inside = {part: math.prod(shape) for part, shape in shapes.items() if not part.startswith("linear.")}
        without = [size for part, size in inside.items() if not is_buffer(part)]
        common = max(_in_common(sizes, Counter(ours)) for ours in (inside.values(), without))
        if common > most:
            best, most = name, common
    if most < SHARE:
        nearest = f"; the nearest is {best}" if best else ""
        raise InputError(f"model: the target's {len(theirs)} parameters are those of no network known here{nearest}; "
                         f"option variant= names the one that is meant")
    shapes = _own_shapes(best)
    features = shapes["linear.weight"][0]
    heads = [shape for shape in theirs.values() if len(shape) == 2 and features in shape]
    classes = next((math.prod(shape) // features for shape in reversed(heads)), config_of(best).num_classes)
    return config_of(best, num_classes=classes)
