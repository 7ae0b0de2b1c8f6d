"""Color jitter: brightness, contrast and saturation changed by random factors in random order.

Source: torchvision's ColorJitter without a change of hue, as timm uses it (Howard, 2013, arXiv 1312.5402).

Used by: examples.py. Test: reference_tests/augment/test_jitter_and_erasing.py.
"""

import dataclasses
import math

import numpy

from ..backend import CounterRNG
from ..errors import InputError
from ..functional.checks import real_number, shown
from . import enhancement

CHANGES = (enhancement.brightness, enhancement.contrast, enhancement.color)


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Changes images by factors that are uniform from 1 - strength, at least 0, to 1 + strength."""

    strength: float

    def __post_init__(self) -> None:
        if not 0.0 < real_number(self.strength, "color jitter: strength") < math.inf:
            raise InputError(f"color jitter: strength={shown(self.strength)}: expected a number above 0")

    def __call__(self, image: numpy.ndarray, randomness: CounterRNG, example: int) -> numpy.ndarray:
        """The uint8 image (H, W, 3) with other colours.

        randomness: of the run's seed, its step being the epoch; example: the picture's number.
        """
        for change, factor in self.draw(randomness, example):
            image = CHANGES[change](image, factor)
        return image

    def draw(self, randomness: CounterRNG, example: int) -> list[tuple[int, float]]:
        """(number in CHANGES, factor) of the changes of one example, in their order."""
        shares, places = randomness.uniform(f"color jitter {example}", (2, len(CHANGES)))
        least = max(0.0, 1.0 - self.strength)
        factors = least + shares * (1.0 + self.strength - least)
        return [(change, float(factors[change])) for change in numpy.argsort(places, kind="stable").tolist()]
