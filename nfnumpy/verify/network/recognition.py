"""Which network a target is meant to be, and how its parameters are named: told by shapes."""

import dataclasses
from collections import Counter

from ...errors import InputError
from ...models import config_of, names
from ..variants import changed, combinations
from .catalogue import OF_SHAPES
from .matching import match
from .rules import Rules
from .shapes import parameter_shapes

SHARE = 0.6  # of the named variant's parameters whose sizes the target must have for it to be taken for that variant


@dataclasses.dataclass(frozen=True)
class Recognised:
    """config: of the network that is meant; match: of the parameters; entries: of the catalogue, that say in which way
    the target's parameters are not those of that network.
    """

    config: object
    match: object
    entries: tuple


def recognised(theirs, *, outputs_first, config=None, given=None):
    """What {their parameter's name: shape} is; config: the network's, or None to look for the nearest named one.

    InputError, which says what does not fit, when it is none, be it with any one or two known changes.
    """
    config = _nearest(theirs) if config is None else config
    found = match(theirs, parameter_shapes(config, Rules()), outputs_first=outputs_first, given=given)
    if found.complete:
        return Recognised(config, found, ())
    for entries in combinations(OF_SHAPES):
        shapes = parameter_shapes(config, changed(Rules(), entries))
        if not _could_fit(theirs, shapes):
            continue
        other = match(theirs, shapes, outputs_first=outputs_first, given=given)
        if other.complete:
            return Recognised(config, other, entries)
    if len(found.absent) > (1 - SHARE) * len(found.layouts):
        raise InputError(_misfit(theirs, config, found))
    return Recognised(config, found, ())


def _could_fit(theirs, ours):
    """Whether all large tensors of both have the same sizes."""
    large = [Counter(_size(shape) for shape in shapes.values() if len([n for n in shape if n != 1]) > 1)
             for shapes in (theirs, ours)]
    return large[0] == large[1]


def _misfit(theirs, config, found):
    name = next((name for name in names() if config_of(name) == config), type(config).__name__)
    odd = next(iter(found.unused), None)
    return (f"model: the target's {len(theirs)} parameters are not those of {name}: {len(found.absent)} of ours are "
            f"missing, such as {found.absent[0]}"
            + (f", and {len(found.unused)} fit nowhere, such as {odd} {tuple(theirs[odd])}" if odd else "")
            + "; option variant= names another network, --map says which parameter is which")


def _nearest(theirs):
    """The configuration of the named variant that has most sizes in common, with the target's number of classes."""
    sizes = Counter(_size(shape) for shape in theirs.values())
    best, most = None, 0.0
    for name in names():
        shapes = parameter_shapes(config_of(name), Rules())
        ours = Counter(_size(shape) for part, shape in shapes.items() if not part.startswith("linear."))
        common = sum((sizes & ours).values()) / max(sum(sizes.values()), sum(ours.values()))
        if common > most:
            best, most = name, common
    if most < SHARE:
        raise InputError(f"model: the target's {len(theirs)} parameters are those of no network known here"
                         + (f"; the nearest is {best}" if best else "") + "; option variant= says which is meant")
    shapes = parameter_shapes(config_of(best), Rules())
    features = shapes["linear.weight"][0]
    heads = [shape for shape in theirs.values() if len(shape) == 2 and features in shape]
    classes = next((_size(shape) // features for shape in reversed(heads)), config_of(best).num_classes)
    return config_of(best, num_classes=classes)


def _size(shape):
    product = 1
    for length in shape:
        product *= length
    return product
