"""Which two pictures an example is mixed of, and in which shares: the authors' form and timm's.

"released": the authors' code reads 2·B images for a step of B examples. Every example has a partner of its own, half
of a step's examples are MixUp pairs and half are CutMix pairs, each with its own ratio or box. Here the methods
alternate in place of one half after the other, so that SAM's part of a batch has both.
"timm": the partner is the example at the mirrored place in the batch, so that each image is in two examples; the whole
batch is mixed by one of the two methods, either with probability 1/2, with one ratio or box. Here partners are
neighbours in the batch, examples 2k and 2k + 1, which is the same but for the order within the batch.

Used by: examples.py. Test: reference_tests/augment/test_examples.py.
"""

import dataclasses
from typing import NamedTuple

import numpy

from ..backend import CounterRNG
from ..errors import InputError
from ..functional.checks import real_number, shown
from .cropping import Crop
from .mixing import cutmix, draw_box, draw_ratio, mixup

MIXING_FORMS = ("released", "timm")


class Mix(NamedTuple):
    """How a pair is mixed: the share of its first image, and CutMix's box with whether the first image is inside."""

    ratio: float
    box: Crop | None = None
    first_is_inside: bool = True

    def apply(self, first: numpy.ndarray, second: numpy.ndarray) -> numpy.ndarray:
        """The mixed values of two images (H, W, C)."""
        if self.box is None:
            return mixup(first, second, self.ratio)
        inside, outside = (first, second) if self.first_is_inside else (second, first)
        return cutmix(inside, outside, self.box)[0]


@dataclasses.dataclass(frozen=True)
class Mixing:
    """Which methods are used: `mixup`, `cutmix` are the alphas of their Beta distributions, None for neither.

    form: one of MIXING_FORMS. off_epoch: examples of this epoch, counted from 0, and of later ones are not mixed; None
    for never. augment_first: whether RandAugment comes before mixing; None as the form has it: after it as released,
    before it in timm.
    """

    mixup: float | None = None
    cutmix: float | None = None
    form: str = "released"
    off_epoch: int | None = None
    augment_first: bool | None = None

    def __post_init__(self) -> None:
        if self.form not in MIXING_FORMS:
            raise InputError(f"mixing form {self.form!r}: expected {' or '.join(MIXING_FORMS)}")
        for name, alpha in (("MixUp", self.mixup), ("CutMix", self.cutmix)):
            if alpha is not None and not 0.0 < real_number(alpha, f"{name}: alpha") <= 1.0:
                raise InputError(f"{name}: alpha={shown(alpha)}: expected a number above 0 and up to 1")
        if self.augment_first is None:
            object.__setattr__(self, "augment_first", self.form == "timm")

    def is_on(self, epoch: int) -> bool:
        """Whether examples of the epoch, counted from 0, are mixed."""
        has_method = self.mixup is not None or self.cutmix is not None
        return has_method and (self.off_epoch is None or epoch < self.off_epoch)

    def draw(self, size: int, batch_size: int, randomness: CounterRNG, position: int, example: int) -> Mix:
        """How the example at a position of the epoch is mixed with its partner, in images of `size` pixels.

        randomness: of the run's seed, its step being the epoch; example: the picture's number.
        """
        step, place = divmod(position, batch_size)
        if self.form == "timm":
            is_cutmix = self._is_cutmix(randomness.uniform(f"mixing of step {step}", (1,))[0] >= 0.5)
            drawn_for = f"of step {step}"
        else:
            is_cutmix = self._is_cutmix(place % 2 == 1)
            drawn_for = str(example)
        if not is_cutmix:
            return Mix(draw_ratio(randomness, drawn_for, self.mixup or 0.0))
        box = draw_box((size, size), randomness, drawn_for, self.cutmix or 0.0, odd_sides=self.form == "timm")
        share = box.height * box.width / size**2
        return Mix(1.0 - share, box, False) if self.form == "timm" else Mix(share, box)

    def _is_cutmix(self, preferred):
        """Whether CutMix is the method: `preferred` where there is a choice."""
        return self.mixup is None or (self.cutmix is not None and preferred)
