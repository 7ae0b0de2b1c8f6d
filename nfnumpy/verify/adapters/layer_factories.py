"""What makes Keras's layers of a number of channels and a width: classes, and functions that build layers on a tensor.

Layers may take the number of channels from the tensor, and then have no parameter for it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..frameworks import Framework
from .guarded_call import FRAMEWORKS
from .signatures import cannot_be_made, first_named, parameter_names, parameters_of, required, takes_any_keyword

INPUT = ("x", "inputs", "input", "input_tensor", "tensor", "feature", "input_layer", "net", "images",
         "image")
CHANNELS = ("channels", "in_channels", "filters", "num_channels", "in_ch", "input_channels", "num_filters", "units")
OUTPUTS = ("out_ch", "out_channels", "out_chs", "output_channels", "out_features", "cout")


def all_parameters(target: Any) -> dict[str, Any]:
    """The parameters of a function, or of a class and of its bases, as far as each hands on what it does not know."""
    found: dict[str, Any] = {}
    for owner in target.__mro__ if isinstance(target, type) else (target,):
        own = parameters_of(owner.__init__ if isinstance(owner, type) else owner) or {}  # type: ignore[misc]
        taken = set(list(own)[:1]) if isinstance(owner, type) else set()  # self, whatever it is called
        found |= {name: parameter for name, parameter in own.items() if name not in taken and name not in found}
        if not takes_any_keyword(own):
            break
    return found


def is_its_own(target: Any, name: str | None) -> bool:
    """Whether a parameter is one of the target's own signature, and not only of a framework's class that it extends."""
    owners = target.__mro__ if isinstance(target, type) else (target,)
    owner = next(each for each in owners if (each is target and not isinstance(each, type)) or "__init__" in vars(each))
    return name in parameter_names(owner) and owner.__module__.partition(".")[0] not in FRAMEWORKS


def builds_layers(target: Callable) -> bool:
    """Whether the first parameter of a function is a tensor, by its name."""
    names = parameter_names(target)
    return not isinstance(target, type) and bool(names) and names[0].lower() in INPUT


def layer_factory(target: Callable, framework: Framework, options: Mapping[str, Any], widths: Sequence[str],
                  width_of: Callable[[str, Any], Any]) -> Callable[[Any], Any]:
    """A function of an input case with `channels`, and images x, that makes squeeze-and-excite, a layer or a network.

    widths: the names of the parameter whose value is width_of(name, case).
    """
    builds = builds_layers(target)
    free = [name for name in parameter_names(target)[builds:] if name not in options]
    width, channels, outputs = (first_named(free, names) for names in (widths, CHANNELS, OUTPUTS))
    known = (width, channels, outputs)
    needed = [name for name in required(parameters_of(target)) if name in free and name not in known]
    if needed and channels is None and outputs is None:
        channels = needed.pop(0)
    if needed and width is None:
        width = needed.pop(0)
    if needed:
        raise cannot_be_made("se", needed)

    def make(case):
        values = {channels: case.options["channels"], outputs: case.options["channels"]}
        if width is not None:
            values[width] = width_of(width, case)
        given = {**{name: value for name, value in values.items() if name is not None}, **options}
        if builds:
            return framework.built(lambda tensor: target(tensor, **given), case.arrays["x"].shape[1:])
        return framework.made(target, **given)
    return make
