"""Which named variant a state belongs to, told by the names and shapes of its arrays."""

import functools

from ..errors import InputError
from .registry import VARIANTS, create


def variant_of(state):
    """The name of the variant whose parameters `state` (name -> array) holds, whatever its number of classes.

    InputError, naming the nearest variant and the first difference from it, when there is none.
    """
    shapes = {name: tuple(array.shape) for name, array in state.items()}
    nearest, most_alike = None, 0.0
    for variant in VARIANTS:
        expected = _expected_shapes(variant, shapes)
        if expected == shapes:
            return variant
        alike = len(expected.items() & shapes.items()) / len(expected.keys() | shapes.keys())
        if alike > most_alike:
            nearest, most_alike = variant, alike
    if nearest is None:
        raise InputError(f"state: no variant has names and shapes such as {str(next(iter(shapes), 'none'))[:80]!r}")
    raise InputError(f"state: it fits no variant; the nearest is {nearest}, but "
                     + _first_difference(_expected_shapes(nearest, shapes), shapes))


def where_it_fits(state, model_state):
    """What to add when `state` does not fit a model that has `model_state`: where it does fit, if that is known."""
    if any(str(name).startswith("model.") for name in state):
        return "; these are all arrays of a checkpoint: nf.weights.load(path, group='model') takes the weights"
    fitting, own = _variant_or_none(state), _variant_or_none(model_state)
    if fitting is None:
        return ""
    if fitting == own and state["linear.bias"].shape == model_state["linear.bias"].shape:
        return ""  # the names and shapes fit, so that something else does not
    if fitting == own:
        return f"; these weights fit {fitting} with num_classes={state['linear.bias'].shape[0]}"
    return f"; these weights fit {fitting}, not {own or 'this model'}"


def _variant_or_none(state):
    try:
        return variant_of(state)
    except (InputError, AttributeError):  # what is no array has no shape
        return None


def _expected_shapes(variant, shapes):
    """name -> shape of the variant's parameters, for as many classes as `shapes` has."""
    expected = dict(_shapes(variant))
    (classes,) = shapes.get("linear.bias", ()) if len(shapes.get("linear.bias", ())) == 1 else expected["linear.bias"]
    return {**expected, "linear.weight": (expected["linear.weight"][0], classes), "linear.bias": (classes,)}


@functools.cache
def _shapes(variant):
    """name -> shape of the variant's parameters, from a model that takes no memory."""
    return {name: tuple(array.shape) for name, array in create(variant, shapes_only=True).state_dict().items()}


def _first_difference(expected, shapes):
    """One line about the first parameter that is missing, misshapen or unknown."""
    for name, shape in expected.items():
        if name not in shapes:
            return f"{name!r} is missing"
        if shapes[name] != shape:
            return f"{name!r} has shape {shapes[name]}, expected {shape}"
    return f"{min(set(shapes) - set(expected))[:80]!r} is unknown there"
