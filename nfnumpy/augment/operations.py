"""RandAugment's sixteen operations by name, with the argument that a magnitude stands for.

Source: Cubuk et al. (2019b), arXiv 1909.13719, and the augmentation code that the authors of NFNets released. Two
faults of that code are kept in the form "as_released" and mended in "corrected": Solarize's threshold is a uint8 there
and wraps, and Contrast takes H·W/256 for the mean grey.

Test: reference_tests/augment/test_operations.py.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

from ..errors import InputError
from ..functional.checks import real_number, shown
from . import blending, geometry

MAX_MAGNITUDE = 10.0  # of the scale in which arguments are stated; larger ones go on along it
FORMS = ("as_released", "corrected")


def _threshold(share: float, form: str) -> int:
    """From which value on Solarize inverts."""
    threshold = int(share * 256)
    return threshold % 256 if form == "as_released" else min(threshold, 256)


def _mean_grey(image: numpy.ndarray, form: str) -> float:
    """The grey that Contrast starts from."""
    if form == "as_released":
        return image.shape[0] * image.shape[1] / 256
    return float(blending.grey(image).mean())


class Argument(NamedTuple):
    """What an operation may depend on: M/10, ±1, one of FORMS, (row, column) of Cutout's square, and the pixel's size.

    pixel: what lengths in pixels, of translations and of Cutout, are multiplied by.
    """

    share: float
    sign: int
    form: str
    center: tuple[int, int]
    pixel: float

    @property
    def factor(self) -> float:
        """Of a blend: 1, which changes nothing, at M = 5."""
        return self.share * 1.8 + 0.1


_APPLY: dict[str, Callable[[numpy.ndarray, Argument], numpy.ndarray]] = {
    "AutoContrast": lambda image, of: blending.autocontrast(image),
    "Equalize": lambda image, of: blending.equalize(image),
    "Invert": lambda image, of: blending.invert(image),
    "Rotate": lambda image, of: geometry.rotate(image, of.sign * of.share * 30),
    "Posterize": lambda image, of: blending.posterize(image, min(8, int(of.share * 4))),
    "Solarize": lambda image, of: blending.solarize(image, _threshold(of.share, of.form)),
    "Color": lambda image, of: blending.color(image, of.factor),
    "Contrast": lambda image, of: blending.contrast(image, of.factor, _mean_grey(image, of.form)),
    "Brightness": lambda image, of: blending.brightness(image, of.factor),
    "Sharpness": lambda image, of: blending.sharpness(image, of.factor),
    "ShearX": lambda image, of: geometry.shear_x(image, of.sign * of.share * 0.3),
    "ShearY": lambda image, of: geometry.shear_y(image, of.sign * of.share * 0.3),
    "TranslateX": lambda image, of: geometry.translate_x(image, of.sign * of.share * 100 * of.pixel),
    "TranslateY": lambda image, of: geometry.translate_y(image, of.sign * of.share * 100 * of.pixel),
    "Cutout": lambda image, of: geometry.cutout(image, int(of.share * 40 * of.pixel), of.center),
    "SolarizeAdd": lambda image, of: blending.solarize_add(image, int(of.share * 110)),
}
OPERATIONS = tuple(_APPLY)  # in the order in which the released code numbers them


def apply_operation(image: numpy.ndarray, name: str, magnitude: float, sign: int = 1, form: str = "as_released", *,
                    center: tuple[int, int] | None = None, pixel: float = 1.0) -> numpy.ndarray:
    """The uint8 image (H, W, 3) after the operation called `name`, one of OPERATIONS; a new array, or the same one.

    magnitude: from 0, where 10 is the scale's end; sign: 1 or -1, for Rotate, shears and translations; form: one of
    FORMS; center: (row, column) of Cutout's square, the middle of the image if None; pixel: what lengths in pixels are
    multiplied by, below 1 for images smaller than those that the lengths are meant for. InputError for anything else.
    """
    check_image(image)
    if name not in OPERATIONS:
        raise InputError(f"apply_operation: unknown operation {shown(name)}: expected one of {', '.join(OPERATIONS)}")
    if sign not in (1, -1) or form not in FORMS:
        raise InputError(f"apply_operation: sign={shown(sign)}, form={shown(form)}: expected 1 or -1, and "
                         f"{' or '.join(FORMS)}")
    share = real_number(magnitude, "apply_operation: magnitude") / MAX_MAGNITUDE
    if not 0.0 <= share < math.inf:
        raise InputError(f"apply_operation: magnitude={shown(magnitude)}: expected a number from 0 up")
    center = (image.shape[0] // 2, image.shape[1] // 2) if center is None else center
    pixel = real_number(pixel, "apply_operation: pixel")
    if not 0.0 <= pixel < math.inf:
        raise InputError(f"apply_operation: pixel={shown(pixel)}: expected a number from 0 up")
    return _APPLY[name](image, Argument(share, sign, form, center, pixel))


def check_image(image: Any) -> None:
    """InputError unless `image` is a uint8 NumPy array (H, W, 3) with pixels."""
    is_image = isinstance(image, numpy.ndarray) and image.dtype == numpy.uint8 and image.ndim == 3
    if not is_image or image.shape[2] != 3 or not image.size:
        raise InputError(f"image: expected a uint8 array (H, W, 3) with pixels, got {shown(image)}")
