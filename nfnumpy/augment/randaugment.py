"""RandAugment: a sequence of operations out of sixteen, drawn anew for every example.

Source: Cubuk et al. (2019b), arXiv 1909.13719, algorithm 1. As in the authors' released code every layer applies its
operation, drawn with replacement; layers and magnitude of each NFNet: Brock et al. (2021b), table 6.

Test: reference_tests/augment/test_randaugment.py.
"""

from typing import NamedTuple

import numpy

from ..backend import CounterRNG
from .operations import OPERATIONS, apply_operation


class Layer(NamedTuple):
    """One operation: its name, its argument's sign, and where Cutout's square is, as shares of height and width."""

    name: str
    sign: int
    place: tuple[float, float]


def draw_layers(randomness: CounterRNG, example: int, layers: int) -> list[Layer]:
    """The operations for one example, which depend on the seed and step of `randomness` and on `example` alone.

    randomness: of the run's seed, its step being the epoch. The first layers do not depend on how many there are.
    """
    draws = randomness.uniform(f"RandAugment {example}", (layers, 4))
    return [Layer(OPERATIONS[int(operation * len(OPERATIONS))], 1 if sign < 0.5 else -1, (float(row), float(column)))
            for operation, sign, row, column in draws]


def rand_augment(image: numpy.ndarray, layers: list[Layer], magnitude: float, form: str = "as_released",
                 pixel: float = 1.0) -> numpy.ndarray:
    """The uint8 image (H, W, 3) after the operations of `layers`, all of that magnitude.

    form, pixel: as apply_operation has them.
    """
    height, width = image.shape[:2]
    for layer in layers:
        center = int(layer.place[0] * height), int(layer.place[1] * width)
        image = apply_operation(image, layer.name, magnitude, layer.sign, form, center=center, pixel=pixel)
    return image
