"""Keras's convolutions of other shapes: depthwise ones, and those of one dimension or transposed."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import Framework
from . import Adapter
from .guarded_call import guarding
from .layer_convolution import ROLES, Layer, names_of_leaves
from .layer_factories import all_parameters
from .signatures import first_named

MULTIPLIERS = ("depth_multiplier", "channel_multiplier")
ONLY_THE_WEIGHT = "not a convolution of two dimensions: its standardization alone is checked"


def shaped_layer_adapter(target: Callable, framework: Framework, options: Mapping[str, Any]) -> Adapter | None:
    """The Adapter of a class of such layers, as its parameters and the names of its bases tell; None for any other."""
    if not isinstance(target, type):
        return None
    parameters = all_parameters(target)
    names = {role: first_named([name for name in parameters if name not in options], known)
             for role, known in {**ROLES, "multiplier": MULTIPLIERS}.items()}
    bases = " ".join(base.__name__ for base in target.__mro__).lower()
    if names["kernel"] is None:
        return None
    if names["multiplier"] is not None and names["outputs"] is None:
        layer = _Depthwise(target, framework, names, parameters, options, builds=False)
        return Adapter(guarding("ws_conv", layer.run), framework, {"depthwise": True},
                       notes=(f"it is asked with {names['padding']} = {layer.same!r}",) if names["padding"] else ())
    if names["outputs"] is None or not ("1d" in bases or "transpose" in bases):
        return None
    weight = _Weight(target, framework, names, parameters, options, 1 if "1d" in bases else 2, "transpose" in bases)
    return Adapter(guarding("ws_conv", weight.run), framework, {"groups": 1, "stride": 1, "dilation": 1, "bias": True},
                   notes=(ONLY_THE_WEIGHT,))


class _Depthwise(Layer):
    """Its weight is (kh, kw, channels, multiplier), ours (kh, kw, 1, channels·multiplier)."""

    def values(self, x: np.ndarray, weight: np.ndarray, geometry: Mapping[str, Any]) -> dict[str, Any]:
        """See Layer."""
        return {**super().values(x, weight, geometry), "multiplier": weight.shape[3] // geometry["groups"]}

    def arranged(self, weight: np.ndarray, groups: int) -> np.ndarray:
        """See Layer."""
        return weight.reshape(*weight.shape[:2], groups, -1)


class _Weight(Layer):
    """A layer whose weight alone is looked at; one of one dimension has all taps in a row."""

    def __init__(self, target: Callable, framework: Framework, names: Mapping[str, str | None],
                 parameters: Mapping[str, Any], options: Mapping[str, Any], dimensions: int, transposed: bool):
        super().__init__(target, framework, names, parameters, options, builds=False)
        self.dimensions, self.transposed = dimensions, transposed

    def run(self, case: Any) -> Mapping[str, np.ndarray]:
        """The standardized weight."""
        arrays = case.arrays
        weight = arrays["weight"]
        if self.dimensions == 1:
            weight = weight.reshape(-1, *weight.shape[2:])
        weight = weight.swapaxes(-2, -1) if self.transposed else weight
        size = weight.shape[0]
        x = np.ones((1, *(2 * size + 1,) * self.dimensions, arrays["weight"].shape[2]), weight.dtype)
        values = {"inputs": x.shape[-1], "outputs": arrays["weight"].shape[3], "kernel": size, "padding": self.same,
                  "stride": 1, "groups": 1}
        module = self.layer(x, values)
        self._load(module, np.ascontiguousarray(weight), arrays)
        _, convolved = module.call_and_watch(x, training=True)
        if convolved is None:
            raise InputError("ws_conv: the layer called no convolution of its framework, so its weight is not seen")
        seen = convolved.reshape(weight.shape)
        seen = seen.swapaxes(-2, -1) if self.transposed else seen
        return {"standardized weight": seen.reshape(arrays["weight"].shape)}

    def _load(self, module, weight, arrays):
        """Write weight and gain; of a transposed convolution the gain may be along the inputs."""
        shapes = module.parameters
        names = names_of_leaves(shapes, {"weight": weight.size})
        if "weight" not in names or shapes[names["weight"]] != weight.shape:
            raise InputError(f"ws_conv: expected a weight {weight.shape}, the layer has "
                             + ", ".join(f"{name} {shape}" for name, shape in shapes.items()))
        values = {"weight": weight, "gain": arrays["gain"], "bias": arrays["bias"]}
        module.load({name: np.resize(values[ours], shapes[name]) for ours, name in names.items()}, str(weight.dtype))
