"""RandAugment as timm draws it, described by timm's strings, such as "rand-m9-mstd0.5-inc1".

Every layer draws an operation, applies it with probability p, and draws its level from a normal distribution around m,
its sign, and bilinear or bicubic interpolation. Source: timm 1.0.

Used by: pipeline.py. Test: reference_tests/augment/test_timm_randaugment.py.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy

from ..backend import CounterRNG
from ..errors import InputError
from ..functional.checks import shown
from .timm_operations import INCREASING, PLAIN, SCALE, Drawn, Operation

UNIFORM_ABOVE = 100.0  # of mstd
KNOWN = ("rand, then any of mN (level, up to 10, or to mmax), nN (layers), pP (probability of each), mstdS (deviation "
         "of the level; above 100: uniform from 0 to m), mmaxN (greatest level), inc0 or inc1 (all grow stronger), "
         "numbers below 1000")


class TimmLayer(NamedTuple):
    """One operation that is applied: its name, and what its argument depends on."""

    name: str
    drawn: Drawn


@dataclasses.dataclass(frozen=True)
class TimmRandAugment:
    """The parts of a string: m, n, p, mstd, mmax and inc."""

    magnitude: int = 10
    layers: int = 2
    probability: float = 0.5
    deviation: float = 0.0
    greatest: int = 10
    increasing: bool = False

    @property
    def operations(self) -> dict[str, Operation]:
        """The operations by name, each as likely as the others."""
        return INCREASING if self.increasing else PLAIN

    def draw(self, randomness: CounterRNG, example: int) -> list[TimmLayer]:
        """The layers that are applied to one example.

        randomness: of the run's seed, its step being the epoch. The first layers do not depend on how many there are.
        """
        names = list(self.operations)
        draws = randomness.uniform(f"timm's RandAugment {example}", (self.layers, 5)).tolist()
        applied = []
        for layer, (operation, chance, level, sign, interpolation) in enumerate(draws):
            if chance < self.probability:
                share = self._level(randomness, f"timm's RandAugment {example}, level {layer}", level) / SCALE
                filter_name = "bilinear" if interpolation < 0.5 else "bicubic"
                applied.append(TimmLayer(names[int(operation * len(names))],
                                         Drawn(share, 1 if sign < 0.5 else -1, filter_name)))
        return applied

    def _level(self, randomness, site, uniform):
        """The level of one layer, between 0 and the greatest."""
        level = float(self.magnitude)
        if self.deviation > UNIFORM_ABOVE:
            level *= uniform
        elif self.deviation > 0.0:
            level += self.deviation * float(randomness.normal(site, (1,))[0])
        return min(max(level, 0.0), float(self.greatest))

    def __call__(self, image: numpy.ndarray, randomness: CounterRNG, example: int) -> numpy.ndarray:
        """The uint8 image (H, W, 3) after the layers of the example."""
        for name, drawn in self.draw(randomness, example):
            image = self.operations[name](image, drawn)
        return image


WHOLE, DECIMAL = r"[0-9]{1,3}", r"[0-9]{0,3}\.?[0-9]{1,9}"  # a layer takes time and memory for every image
PARTS: dict[str, tuple[str, str, Callable[[str], object]]] = {  # field, what its number looks like, what makes it
    "m": ("magnitude", WHOLE, int), "n": ("layers", WHOLE, int), "p": ("probability", DECIMAL, float),
    "mstd": ("deviation", f"{DECIMAL}|inf", float), "mmax": ("greatest", WHOLE, int),
    "inc": ("increasing", r"[01]", lambda text: text == "1"),
}


def parse_rand_augment(text: str) -> TimmRandAugment:
    """The RandAugment that timm's string describes; InputError, with what is known, for any other string."""
    first, *sections = text.split("-")
    if first != "rand":
        raise InputError(f"timm's augmentation {shown(text)}: expected {KNOWN}")
    fields: dict[str, object] = {}
    for section in sections:
        match = re.fullmatch("([a-z]*)(.*)", section)
        name, number = match.groups() if match else ("", "")
        if section.endswith("inf"):
            name, number = section[:-3], "inf"
        field, pattern, convert = PARTS.get(name, ("", "(?!)", str))
        if field in fields or not re.fullmatch(pattern, number):
            raise InputError(f"timm's augmentation {shown(text)}: part {shown(section)}: expected {KNOWN}, each once")
        fields[field] = convert(number)
    found = TimmRandAugment(**fields)  # type: ignore[arg-type]
    if found.probability > 1.0:
        raise InputError(f"timm's augmentation {shown(text)}: expected p up to 1")
    return found
