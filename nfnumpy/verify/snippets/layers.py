"""Programs that call layers of Keras's and modules of TensorFlow's, which make their variables when first called."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..adapters.layer_convolution import LEAVES, ROLES
from ..adapters.layer_factories import CHANNELS
from ..adapters.signatures import first_named, parameters_of
from .code import Program

USUAL = {"outputs": "filters", "kernel": "kernel_size", "stride": "strides", "groups": "groups", "padding": "padding"}


def convolution_layers(program: Program, target: Any, options: Mapping[str, Any]) -> Iterator[Program]:
    """A class or factory of (filters, kernel_size, …)."""
    if program.tensor != "output":
        return
    arrays, parameters = program.arrays, parameters_of(target) or {}
    size, _, _, outputs = arrays["weight"].shape
    values = {"outputs": outputs, "kernel": size, "stride": program.options["stride"],
              "groups": program.options["groups"], "padding": "same", "inputs": arrays["x"].shape[3]}
    names = {role: first_named(parameters, known) or USUAL.get(role) for role, known in ROLES.items()}
    plain = {names[role]: value for role, value in values.items() if names[role] and (role, value) not in (
        ("stride", 1), ("groups", 1))}
    for given in (plain, {name: value for name, value in plain.items() if name != names["padding"]}):
        leaves = {name: arrays[name] for name in ("weight", "gain", "bias")}
        yield from _built(program, target, {**given, **options}, leaves, dict(LEAVES))


def squeeze_excite_layers(program: Program, target: Any, options: Mapping[str, Any]) -> Iterator[Program]:
    """A class or factory of channels and a width."""
    if program.tensor != "output":
        return
    arrays, parameters = program.arrays, [name for name in parameters_of(target) or {} if name not in options]
    channels, ratio = program.options["channels"], program.options["ratio"]
    first = first_named(parameters, CHANNELS)
    second = next((name for name in parameters if name != first), None)
    own = {first: channels} if first else {}
    for width in (None, ratio, round(1.0 / ratio), max(1, int(channels * ratio))):
        given = {**own, **({} if width is None or second is None else {second: width}), **options}
        yield from _built(program, target, given, {name: arrays[name] for name in arrays if name.startswith("fc")}, {})


def _built(program, target, given, leaves, patterns):
    """The program of a layer made with these keywords; none where it cannot be made, or has other variables.

    leaves: {our name: array}; patterns: {our name: of the names of the layer's variables}, or their order decides.
    """
    try:
        layer = target(**given)
        layer(program.framework.array(program.arrays["x"].astype(program.dtype)))
        variables = list(getattr(layer, "weights", None) or layer.variables)
        found = list(_matched(variables, leaves, patterns))
    except Exception:  # it takes other arguments
        return
    own = "weights" if hasattr(layer, "weights") else "variables"
    keywords = program.keywords(given).removeprefix(", ")
    lines = [f"x = {program.literal(program.arrays['x'])}", f"layer = {program.place.attribute}({keywords})",
             "layer(x)  # makes its variables"]
    if program.dtype != "float32":
        keras = "tf.keras" if program.name == "tensorflow" else "keras"
        lines.insert(0, f'{keras}.config.set_floatx("{program.dtype}")')
    lines += [f"layer.{own}[{index}].assign({program.literal(array)})" for index, array in found]
    yield program.with_lines(*lines, "yours = layer(x)")


def _matched(variables, leaves, patterns):
    """(index, array) of each variable that a leaf fits, cut to its shape."""
    free = dict(leaves)
    for index, variable in enumerate(variables):
        shape = tuple(variable.shape)
        for ours, array in free.items():
            cut = array[tuple(slice(size) for size in shape[-array.ndim:])]
            named_so = re.search(patterns.get(ours, ""), variable.name.rpartition("/")[2].lower())
            same_rank = (len(shape) == 1) == (array.ndim == 1)
            if cut.size == np.prod(shape) and named_so and (patterns or same_rank):
                yield index, cut.reshape(shape)
                del free[ours]
                break
