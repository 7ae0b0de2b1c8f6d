"""How a class or factory of convolutions is called, by the names of its parameters and those of its bases."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from .layer_factories import all_parameters, is_its_own
from .signatures import cannot_be_made, first_named, parameter_names, required, takes_any_keyword

ROLES = {"stride": ("stride", "strides"), "groups": ("groups", "num_groups", "group"), "padding": ("padding", "pad"),
         "bias": ("bias", "use_bias", "has_bias", "with_bias"), "dilation": ("dilation", "dilations", "dilation_rate")}


@dataclasses.dataclass(frozen=True)
class Construction:
    """names: role -> the target's parameter, or None; tells_padding: whether it is told the padding; make(target, …)
    calls it.

    A padding whose default is a number is told: k//2 pixels on both sides, as every model has it, and its default is
    not compared. None or a word is the target's own choice. in_pairs: whether sizes are (vertical, horizontal).
    """

    target: Callable
    names: Mapping[str, str | None]
    tells_padding: bool
    options: Mapping[str, Any]
    make: Callable[..., Any]
    in_pairs: bool = False

    @classmethod
    def of(cls, target: Callable, options: Mapping[str, Any], make: Callable[..., Any]) -> "Construction":
        """The Construction of a target that make(target, …) calls; InputError where it needs arguments of unknown
        meaning.
        """
        parameters = all_parameters(target)
        free = [name for name in parameters if name not in options]
        names = {role: first_named(free, known) for role, known in ROLES.items()}
        if not is_its_own(target, names["dilation"]):  # inherited, and perhaps never meant
            names["dilation"] = None
        missing = [name for name in required(parameters)[3:] if name in free and name not in names.values()]
        if missing:
            raise cannot_be_made("ws_conv", missing)
        if takes_any_keyword(parameters) and not isinstance(target, type):  # a factory that hands on what it gets
            names |= {role: names[role] or role for role in ("stride", "groups")}
        padding = parameters.get(names["padding"] or "")
        is_choice = padding is None or padding.default is None or isinstance(padding.default, str)
        return cls(target, names, not is_choice, options, make)

    @property
    def fixed(self) -> dict[str, Any]:
        """What the target has only one value of."""
        given = {role: 1 for role in ("stride", "groups", "dilation") if self.names[role] is None}
        return {**given, "padding": "symmetric"} if self.tells_padding else given

    @property
    def notes(self) -> tuple[str, ...]:
        """For the report."""
        missing = (f"it takes no {role}: compared with {role} = 1" for role in ("stride", "groups")
                   if self.names[role] is None)
        told = f"its {self.names['padding']} is given as kernel_size//2; its default is not compared"
        return (*missing, *((told,) if self.tells_padding else ()))

    def made(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, dilation: int = 1,
             bias: bool = True) -> Any:
        """A layer."""
        values = {"stride": self._sized(stride), "groups": groups, "padding": self._sized(kernel // 2 * dilation),
                  "dilation": self._sized(dilation), "bias": bias}
        size = self._sized(kernel)
        given = {name: values[role] for role, name in self.names.items()
                 if name is not None and (role != "padding" or self.tells_padding)
                 and (role != "bias" or self._is_no_default(name, bias))}
        first = [name for name in parameter_names(self.target) if name not in given][:3]
        if len(first) == 3 and not set(first) & self.options.keys():
            sizes = dict(zip(first, (inputs, outputs, size), strict=True))
            return self.make(self.target, **sizes, **given, **self.options)
        return self.make(self.target, inputs, outputs, size, **given, **self.options)

    def _is_no_default(self, name, value):
        return all_parameters(self.target)[name].default is not value

    def _sized(self, size):
        return (size, size) if self.in_pairs else size
