"""The fifteen operations of timm's RandAugment, with the argument that a level from 0 to 10 stands for.

Two sets: the operations as Cubuk et al. (2019b, arXiv 1909.13719) have them, some of which grow *weaker* with the
level, and "increasing" ones, which all grow stronger: Posterize, Solarize, Color, Contrast, Brightness, Sharpness.
Source of the arguments: timm 1.0, of the pixels: Pillow, whose operations timm calls. Posterize to 0 bits, which the
newest Pillow refuses, is black.

Used by: timm_randaugment.py. Test: reference_tests/augment/test_timm_operations.py.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy

from . import blending, enhancement
from .interpolation import affine, rotation

SCALE = 10.0  # the end of the scale of levels
FILL = (124, 116, 104)  # ImageNet's mean colour
TRANSLATION = 0.45  # share of the image at the end of the scale


class Drawn(NamedTuple):
    """What an operation may depend on: the level over SCALE, ±1, "bilinear" or "bicubic"."""

    share: float
    sign: int
    interpolation: str

    @property
    def factor(self) -> float:
        """Of a blend, in the plain set: 0.1 … 1.9."""
        return self.share * 1.8 + 0.1

    @property
    def increasing_factor(self) -> float:
        """Of a blend, in the increasing set: from 1, which changes nothing, to 0.1 or 1.9."""
        return max(0.1, 1.0 + self.sign * self.share * 0.9)

    @property
    def bits(self) -> int:
        """That Posterize keeps in the plain set: 0 … 4, and up to 8, all, for levels above 10."""
        return min(8, int(self.share * 4))

    @property
    def threshold(self) -> int:
        """From which Solarize inverts in the plain set: 0 … 256."""
        return min(256, int(self.share * 256))


Operation = Callable[[numpy.ndarray, Drawn], numpy.ndarray]


def _moved(matrix_of):
    """The operation that samples an image at the places of `matrix_of(size, share with its sign)`."""
    def operation(image, of):
        return affine(image, matrix_of(image.shape[:2], of.sign * of.share), of.interpolation, FILL)
    return operation


def _rotated(image, of):
    degrees = of.sign * of.share * 30.0
    return affine(image, rotation(image.shape[:2], degrees), of.interpolation, FILL) if degrees else image


_BOTH: dict[str, Operation] = {
    "AutoContrast": lambda image, of: enhancement.autocontrast(image),
    "Equalize": lambda image, of: blending.equalize(image),
    "Invert": lambda image, of: blending.invert(image),
    "Rotate": _rotated,
    "SolarizeAdd": lambda image, of: blending.solarize_add(image, min(128, int(of.share * 110))),
    "ShearX": _moved(lambda size, share: (1.0, share * 0.3, 0.0, 0.0, 1.0, 0.0)),
    "ShearY": _moved(lambda size, share: (1.0, 0.0, 0.0, share * 0.3, 1.0, 0.0)),
    "TranslateXRel": _moved(lambda size, share: (1.0, 0.0, share * TRANSLATION * size[1], 0.0, 1.0, 0.0)),
    "TranslateYRel": _moved(lambda size, share: (1.0, 0.0, 0.0, 0.0, 1.0, share * TRANSLATION * size[0])),
}
PLAIN: dict[str, Operation] = {
    **_BOTH,
    "Posterize": lambda image, of: blending.posterize(image, of.bits),
    "Solarize": lambda image, of: blending.solarize(image, of.threshold),
    "Color": lambda image, of: enhancement.color(image, of.factor),
    "Contrast": lambda image, of: enhancement.contrast(image, of.factor),
    "Brightness": lambda image, of: enhancement.brightness(image, of.factor),
    "Sharpness": lambda image, of: enhancement.sharpness(image, of.factor),
}
INCREASING: dict[str, Operation] = {
    **_BOTH,
    "PosterizeIncreasing": lambda image, of: blending.posterize(image, max(0, 4 - of.bits)),
    "SolarizeIncreasing": lambda image, of: blending.solarize(image, 256 - of.threshold),
    "ColorIncreasing": lambda image, of: enhancement.color(image, of.increasing_factor),
    "ContrastIncreasing": lambda image, of: enhancement.contrast(image, of.increasing_factor),
    "BrightnessIncreasing": lambda image, of: enhancement.brightness(image, of.increasing_factor),
    "SharpnessIncreasing": lambda image, of: enhancement.sharpness(image, of.increasing_factor),
}
