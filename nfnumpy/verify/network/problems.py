"""What a network is asked: parameters that hide nothing, images and labels."""

import dataclasses
import math

import numpy as np

UNDER_THE_FLOOR = 2e-3  # of its usual size: a unit with such weights has N·variance below 1e-4


@dataclasses.dataclass(frozen=True)
class Question:
    """parameters: {our name: array}; images (N, H, W, C); labels (N,). float64, of values that float32 holds too."""

    parameters: dict
    images: np.ndarray
    labels: np.ndarray

    def cast(self, dtype):
        """The same in `dtype`."""
        return Question({name: array.astype(dtype) for name, array in self.parameters.items()},
                        self.images.astype(dtype), self.labels)


def random_parameters(shapes, seed):
    """{name: array} for {name: shape}: no gain is 1, no bias and no skip gain 0."""
    return {name: _random(name, shape, np.random.default_rng([seed, k]))
            for k, (name, shape) in enumerate(shapes.items())}


def floored(parameters):
    """The same, but one unit of every convolution is so small that the floor of weight standardization acts on it."""
    changed = {}
    for name, array in parameters.items():
        if name.endswith(".weight") and array.ndim == 4:
            array = array.copy()
            array[..., 0] = (array[..., 0] * UNDER_THE_FLOOR).astype(np.float32)
        changed[name] = array
    return changed


def _random(name, shape, random):
    kind, noise = name.rpartition(".")[2], random.standard_normal(shape, dtype=np.float32)
    if kind == "weight":
        noise *= np.float32(1.0 / math.sqrt(max(1, math.prod(shape[:-1]))))
        if len(shape) == 4:
            noise += np.float32(0.1 / math.sqrt(max(1, math.prod(shape[:-1]))))  # a mean, for standardization to remove
    elif kind == "skip_gain":
        noise = np.float32(1.0) + np.float32(0.3) * np.clip(noise, -2, 2)
    else:
        noise = noise * np.float32(0.3 if kind == "gain" else 0.2) + np.float32(kind == "gain")
    return np.asarray(noise).astype(np.float64)


def question(config, parameters, size, count, seed):
    """A Question of `count` images of `size` (height, width), to a network with these parameters."""
    random = np.random.default_rng([seed, 1_000_003])
    images = random.standard_normal((count, *size, config.in_channels), dtype=np.float32).astype(np.float64)
    return Question(parameters, images, random.integers(0, config.num_classes, count))


def odd_size(size):
    """(height, width) unlike each other and odd, somewhat smaller than `size`."""
    return max(3, size * 4 // 5 | 1), max(3, size * 7 // 10 | 1)
