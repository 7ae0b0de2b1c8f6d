"""The match of a target's parameters with ours: by known names, else by shape and order, or by a given map."""

import dataclasses
import json
import math
import os
import re
from collections.abc import Mapping

from ...errors import InputError, first_line
from .layouts import OURS, OUTPUTS_FIRST, Layout, layout_of
from .naming_schemes import by_scheme

OPTIONAL = ("gain", "bias", "skip_gain", "gamma", "beta", "scale", "running_mean", "running_variance")
LEAVES = (("skip_gain", r"skip|alpha_gain|res_scale|residual_gain|branch_gain"), ("gain", r"gain|scale|(^|[._])g$"),
          ("mean", r"mean"), ("variance", r"var"), ("gain", r"gamma"),
          ("bias", r"bias|(^|[._])b$|offset|beta|shift"), ("weight", r"weight|kernel|(^|[._])w$"))
Shapes = Mapping[str, tuple[int, ...]]
SHORTCUT = r"short|down|proj|identity|skip_conv|conv_skip|residual_conv|match"


@dataclasses.dataclass(frozen=True)
class Match:
    """names: their name -> ours; layouts: our name -> Layout; how: by which information; absent: ours that the target
    lacks; unused: theirs that match none of ours.
    """

    names: dict[str, str]
    layouts: dict[str, Layout]
    how: str
    absent: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def biases(self) -> tuple[str, ...]:
        """Their unused biases, such as those of convolutions before a normalization: they are set to 0."""
        return tuple(name for name in self.unused if re.search(r"(^|[._/])(bias|b)$", name))

    @property
    def complete(self) -> bool:
        """Whether nothing but gains and biases is absent, and nothing of theirs is unused."""
        return not self.unused and all(name.rpartition(".")[2] in OPTIONAL for name in self.absent)


def read_map(given: Mapping[str, str] | str | os.PathLike[str]) -> Mapping[str, str]:
    """{their name: our name} from a dict, or from a JSON file at a path; InputError when it is neither."""
    if isinstance(given, Mapping):
        return given
    try:
        with open(given, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(f"map {given}: {first_line(error)}") from None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise InputError(f"map {given}: expected an object of the target's parameter names to ours")
    return found


def match(theirs: Shapes, ours: Shapes, *, outputs_first: bool, given: Mapping[str, str] | None = None) -> Match:
    """The Match of {their name: shape} with {our name: shape}, in their orders.

    outputs_first: whether their framework usually has weights OIHW and (out, in); given: a map that decides.
    InputError where the given map names what is not there or does not fit.
    """
    orders = (OUTPUTS_FIRST, OURS) if outputs_first else (OURS, OUTPUTS_FIRST)
    if given is not None:
        return max((_by_map(theirs, ours, given, order) for order in orders), key=lambda found: len(found.names))
    scheme, names = by_scheme(tuple(theirs), set(ours))
    found = []
    for order in orders:
        if names:
            found.append(_matched(theirs, ours, names, f"{scheme} names" if scheme != "ours" else "our names", order))
        found.append(_matched(theirs, ours, _by_shape(theirs, ours, order), "shape and order", order))
    complete = [each for each in found if each.complete]
    return max(complete or found, key=lambda each: len(each.names))


def _matched(theirs, ours, names, how, order):
    layouts, kept = {}, {}
    for name, our in names.items():
        layout = layout_of(theirs[name], ours[our], order)
        if layout is not None and our not in layouts:
            layouts[our], kept[name] = layout, our
    return Match(kept, layouts, how, tuple(our for our in ours if our not in layouts),
                 tuple(name for name in theirs if name not in kept))


def _by_map(theirs, ours, given, order):
    for name, our in given.items():
        if name not in theirs or our not in ours:
            lost, there = (name, theirs) if name not in theirs else (our, ours)
            raise InputError(f"map: {'the target' if there is theirs else 'the reference'} has no parameter {lost!r}; "
                             f"it has such as {next(iter(there), 'none')!r}")
    rest = {name: shape for name, shape in theirs.items() if name not in given}
    open_ones = {name: shape for name, shape in ours.items() if name not in given.values()}
    return _matched(theirs, ours, {**given, **_by_shape(rest, open_ones, order)}, "the map", order)


def _by_shape(theirs, ours, order):
    """{their name: our name}, layer by layer: to each of ours belongs the first free layer of theirs that fits it."""
    free, found = _layers(theirs), {}
    for prefix, leaves in _layers(ours).items():
        shortcut = "conv_shortcut" in prefix
        possible = [other for other, others in free.items() if _fits(others, leaves, order)]
        if not possible:
            continue
        chosen = max(possible, key=lambda other: (bool(re.search(SHORTCUT, other, re.I)) == shortcut,
                                                 set(free[other]) == set(leaves)))
        for leaf, (name, _) in free.pop(chosen).items():
            if leaf in leaves:
                found[name] = leaves[leaf][0]
    return found


def _layers(parameters):
    """{place: {leaf: (name, shape)}}: parameters that belong to one layer, in order."""
    layers, latest = {}, {}
    for name, shape in parameters.items():
        place, _, last = name.replace("/", ".").rpartition(".")
        leaf = next((leaf for leaf, pattern in LEAVES if re.search(pattern, last, re.I)), None)
        if leaf == "skip_gain" or (leaf in ("gain", None) and math.prod(shape) == 1 and len(shape) <= 1):
            place, leaf = f"{place}.{last}", "skip_gain"
        if leaf == "weight" and len(shape) == 1:  # of a normalization
            leaf = "gain"
        leaf = leaf or ("weight" if len([size for size in shape if size != 1]) > 1 else "bias")
        if leaf in layers.get(latest.get(place, place), {}):  # several layers in one place: the next one begins
            latest[place] = f"{place}.{last}"
        layers.setdefault(latest.get(place, place), {})[leaf] = (name, shape)
    return layers


def _fits(theirs, ours, order):
    """Whether a layer of theirs can be this one of ours: all leaves have the same sizes, but for a bias too many."""
    if ("weight" in theirs) != ("weight" in ours) or ("skip_gain" in theirs) != ("skip_gain" in ours):
        return False
    return all((leaf == "bias" and "bias" not in ours and "weight" in ours)
               or (leaf in ours and layout_of(shape, ours[leaf][1], order)) for leaf, (_, shape) in theirs.items())
