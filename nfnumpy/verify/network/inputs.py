"""Input cases of a network: parameters that hide no mistake, images and labels."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

SMALL_VARIANCE = 1e-3  # near the largest eps in use, and no smaller: what is divided by its root grows
UNDER_THE_FLOOR = 2e-3  # of its usual size: a unit with such weights has N·variance below 1e-4


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkInputs:
    """parameters: {our name: array}; images (N, H, W, C); labels (N,). float64, of values that float32 has too.

    training: whether normalizations take the moments of the batch; nothing is dropped in either mode.
    """

    parameters: Mapping[str, np.ndarray]
    images: np.ndarray
    labels: np.ndarray
    training: bool = False

    @functools.cached_property
    def in_float32(self) -> "NetworkInputs":
        """The same in float32."""
        return NetworkInputs({name: array.astype(np.float32) for name, array in self.parameters.items()},
                             self.images.astype(np.float32), self.labels, self.training)

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(array.size for array in self.parameters.values())


def random_parameters(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """{name: array} for {name: shape}: no gain is 1, no bias and no skip gain 0."""
    return {name: _random(name, shape, np.random.default_rng([seed, k]))
            for k, (name, shape) in enumerate(shapes.items())}


def floored(parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same, but with values that make eps matter.

    One unit of every standardized convolution is so small that the floor acts on it, and one running variance of every
    normalization is.
    """
    changed = {}
    for name, array in parameters.items():
        if name.endswith(".running_variance"):
            array = array.copy()
            array[0] = np.float32(SMALL_VARIANCE)
        elif name.removesuffix("weight") + "gain" not in parameters:
            pass
        elif name.endswith(".weight") and array.ndim == 4:
            array = array.copy()
            array[..., 0] = (array[..., 0] * UNDER_THE_FLOOR).astype(np.float32)
        changed[name] = array
    return changed


def _random(name, shape, random):
    leaf, noise = name.rpartition(".")[2], random.standard_normal(shape, dtype=np.float32)
    if leaf == "weight":
        root = math.sqrt(max(1, math.prod(shape[:-1])))
        noise *= np.float32(1.0 / root)
        if len(shape) == 4:
            noise += np.float32(0.1 / root)  # a mean, for standardization to remove
    elif leaf == "skip_gain":
        noise = np.float32(1.0) + np.float32(0.3) * np.clip(noise, -2, 2)
    elif leaf == "running_variance":
        noise = np.float32(1.0) + np.float32(0.3) * np.clip(noise, -2, 2)
    elif leaf in ("gain", "gamma", "scale"):
        noise = noise * np.float32(0.3) + np.float32(1.0)
    else:
        noise = noise * np.float32(0.2)
    return np.asarray(noise).astype(np.float64)


def network_inputs(config: Any, parameters: Mapping[str, np.ndarray], size: tuple[int, int], count: int,
                   seed: int) -> NetworkInputs:
    """`count` random images of `size` (height, width) for a network with these parameters."""
    random = np.random.default_rng([seed, 1_000_003])
    images = random.standard_normal((count, *size, config.in_channels), dtype=np.float32).astype(np.float64)
    return NetworkInputs(parameters, images, random.integers(0, config.num_classes, count))


def odd_size(size: int) -> tuple[int, int]:
    """(height, width) unlike each other and odd, somewhat smaller than `size`."""
    return max(3, size * 4 // 5 | 1), max(3, size * 7 // 10 | 1)
