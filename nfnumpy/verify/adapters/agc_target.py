"""A target that clips gradients, with what is known of it, and an input case in its layout and framework."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..frameworks import Framework
from .signatures import Binding, Parameters

GRADIENT_OF = "gradient of "
Pair = tuple[Any, Any]


def weights_of(use: str) -> float:
    """The factor of the weights that a second step or call starts from, so that norms kept from the first one show."""
    return 2.0 if use == "second" else 1.0


@dataclasses.dataclass(frozen=True)
class ClippingTarget:
    """target; its parameters; layout: OIHW (with weights (out, in)) or HWIO; binding: of clipping and eps; final: the
    name of a model's last layer.
    """

    target: Any
    parameters: Parameters
    framework: Framework
    layout: str
    binding: Binding
    final: str

    def settings(self, case: Any) -> dict[str, Any]:
        """The keywords for clipping and eps, and the options that are passed on."""
        known = {name: case.options[role] for role, name in self.binding.names.items() if name is not None}
        return {**known, **self.binding.passed}

    def to_target(self, array: np.ndarray) -> Any:
        """A host array in the target's layout and framework."""
        if self.layout == "OIHW" and array.ndim >= 2:
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        return self.framework.array(np.array(array, order="C"))

    def from_target(self, array: Any) -> np.ndarray:
        """The reverse."""
        host = self.framework.host(array)
        if self.layout == "OIHW" and host.ndim >= 2:
            return host.transpose(2, 3, 1, 0) if host.ndim == 4 else host.T
        return host

    def pairs(self, case: Any) -> dict[str, Pair]:
        """name -> (the parameter, its gradient) as the target has them."""
        return {name: (self.to_target(array), self.to_target(case.arrays[f"{GRADIENT_OF}{name}"]))
                for name, array in case.arrays.items() if not name.startswith(GRADIENT_OF)}

    def leaves(self, case: Any, with_gradients: bool = True) -> dict[str, Any]:
        """name -> a trainable parameter, with its gradient."""
        return {name: self.framework.parameter(param, grad if with_gradients else None)
                for name, (param, grad) in self.pairs(case).items()}

    def paths(self, leaves: Mapping[str, Any]) -> dict[str, Any]:
        """{path in a model: parameter}, with those of the last layer in a submodule called `final`."""
        paths = {}
        for name, parameter in leaves.items():
            layer, _, leaf = name.rpartition(" ")
            own = layer.replace(" ", "_") or f"{leaf}_alone"
            layer = self.final if layer == "final" else f"{own}_hidden" if own == self.final else own
            paths[f"{layer}.{leaf}"] = parameter
        return paths

    def model(self, leaves: Mapping[str, Any]) -> Any:
        """A module of the framework that holds the parameters."""
        return self.framework.container(self.paths(leaves))
