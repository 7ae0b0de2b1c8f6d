"""Which named variant a state belongs to, recognized by the names and shapes of its arrays.

Used by: training/classifier.py, weights/conversion.py, and, through models/__init__.py, the errors of models/base.py.
Test: reference_tests/weights/test_formats.py.
"""

import functools
import re
from collections.abc import Iterable, Mapping

from ..backend.arrays import Array
from ..errors import InputError
from .registry import VARIANTS, create

UNIT = r"blocks\.\d+(?:\.layers\.\d+)?\."  # start of the names in one of the units that `depths` counts
Shapes = dict[str, tuple[int, ...]]


def variant_of(state: Mapping[str, Array]) -> str:
    """The name of the variant whose parameters `state` (name -> array) has; the number of classes may differ.

    InputError, naming the nearest variant and the first difference from it, when there is none.
    """
    if not isinstance(state, Mapping) or not all(hasattr(array, "shape") for array in state.values()):
        raise InputError("state: expected a dict of name -> array")
    shapes = {name: tuple(array.shape) for name, array in state.items()}
    nearest = None
    most_alike = 0.0
    for variant in _candidates(shapes):
        expected = _expected_shapes(variant, shapes)
        if expected == shapes:
            return variant
        alike = len(expected.items() & shapes.items()) / len(expected.keys() | shapes.keys())
        if alike > most_alike:
            nearest = variant
            most_alike = alike
    if nearest is None:
        example = str(next(iter(shapes), "none"))[:80]
        raise InputError(f"state: no variant has names and shapes such as {example!r}")
    raise InputError(f"state: it fits no variant; the nearest is {nearest}, but "
                     + _first_difference(_expected_shapes(nearest, shapes), shapes))


def explain_mismatch(state: Mapping[str, Array], own: Mapping[str, Array]) -> str:
    """What an error adds when `state` does not fit a model with the state `own`: what the state does fit, if known."""
    if any(str(name).startswith("model.") for name in state):
        return "; these are all arrays of a checkpoint: nf.weights.load(path, group='model') takes the weights"
    variant = _variant_or_none(state)
    own_variant = _variant_or_none(own)
    if variant is None:
        return ""
    if variant != own_variant:
        return f"; these weights fit {variant}, not {own_variant or 'this model'}"
    if state["linear.bias"].shape == own["linear.bias"].shape:
        return ""  # names and shapes fit: the error is about something else
    return f"; these weights fit {variant} with num_classes={state['linear.bias'].shape[0]}"


def _variant_or_none(state: Mapping[str, Array]) -> str | None:
    try:
        return variant_of(state)
    except InputError:
        return None


def _candidates(shapes: Shapes) -> list[str]:
    """The variants that `shapes` may be of, the most likely first.

    A variant's shapes are known only when its network has been made, which takes up to a tenth of a second, so few
    are: those of the two families whose smallest networks have the most alike names, in order of their depth.
    """
    forms = _forms(shapes)
    depth = len({found[0] for found in (re.match(UNIT, str(name)) for name in shapes) if found})
    families = {}
    for family, members in _families().items():
        own = _forms(_shapes(members[0][1]))
        families[family] = len(own & forms) / len(own | forms)
    likely = sorted((family for family in families if families[family]), key=lambda family: -families[family])
    return [variant for family in likely[:2]
            for _, variant in sorted(_families()[family], key=lambda member: abs(member[0] - depth))]


def _forms(shapes: Iterable[str]) -> set[str]:
    """The names with every number replaced by 0."""
    return {re.sub(r"\d+", "0", str(name)) for name in shapes}


@functools.cache
def _families() -> dict[type, list[tuple[int, str]]]:
    """Configuration -> [(depth, variant)], the shallowest first."""
    families: dict[type, list[tuple[int, str]]] = {}
    for variant, config in VARIANTS.items():
        families.setdefault(type(config), []).append((sum(getattr(config, "depths", ())), variant))
    return {family: sorted(members, key=lambda member: member[0]) for family, members in families.items()}


def _expected_shapes(variant: str, shapes: Shapes) -> Shapes:
    """name -> shape of the variant's parameters, for as many classes as `shapes` has."""
    expected = dict(_shapes(variant))
    bias = shapes.get("linear.bias", ())
    classes = bias[0] if len(bias) == 1 else expected["linear.bias"][0]
    features = expected["linear.weight"][0]
    return {**expected, "linear.weight": (features, classes), "linear.bias": (classes,)}


@functools.cache
def _shapes(variant: str) -> Shapes:
    """name -> shape of the variant's parameters, from a model that takes no memory."""
    return {name: tuple(array.shape) for name, array in create(variant, shapes_only=True).state_dict().items()}


def _first_difference(expected: Shapes, shapes: Shapes) -> str:
    """One line about the first parameter that is missing, unknown or of another shape."""
    for name, shape in expected.items():
        if name not in shapes:
            return f"{name!r} is missing"
        if shapes[name] != shape:
            return f"{name!r} has shape {shapes[name]}, expected {shape}"
    return f"{min(map(str, set(shapes) - set(expected)))[:80]!r} is unknown there"
