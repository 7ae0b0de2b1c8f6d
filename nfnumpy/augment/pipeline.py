"""From a picture to a training example, in two stages between which pictures may be mixed.

`place` cuts, flips and resizes, `change` changes colours and geometry of an image that has the network's size.

As the authors' released code has it: a random crop, a flip with probability 1/2, bicubic resizing, values clipped to
0 … 255 and cut to whole numbers, then RandAugment. As small pictures such as CIFAR's are used to be trained on: a flip,
and a shift by up to an eighth of the side (He et al., 2016, section 4.2, where it is 4 pixels of 32). As timm has it:
another random crop, Pillow's resizing, another RandAugment.
What is drawn for an example depends on the seed, the epoch and the example's number: not on the batch that it is in,
nor on the thread that reads it.

Used by: examples.py, kinds.py. Test: reference_tests/augment/test_pipeline.py.
"""

import dataclasses
from typing import TypeAlias

import numpy
from PIL import Image

from ..backend import CounterRNG
from ..datasets.images import resize_image
from .cropping import released_crop, timm_crop
from .randaugment import draw_layers, rand_augment
from .resizing import bicubic_resize
from .timm_randaugment import TimmRandAugment

FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)  # timm draws one for each picture
SMALLEST = 192  # pixels of F0's images, for which RandAugment's lengths in pixels are meant, and those of larger ones


class TwoStages:
    """An augmentation: `place` a picture in an image of `size` pixels, then `change` that image."""

    size: int

    def __call__(self, picture: numpy.ndarray, randomness: CounterRNG, example: int) -> numpy.ndarray:
        """The example, uint8 (size, size, 3), of a picture, uint8 (H, W, 3): both stages.

        randomness: of the run's seed, its step being the epoch; example: the picture's number in the data set.
        """
        return self.change(as_pixels(self.place(picture, randomness, example)), randomness, example)

    def place(self, picture: numpy.ndarray, randomness: CounterRNG, example: int) -> numpy.ndarray:
        """The picture, uint8 (H, W, 3), cut and resized: (size, size, 3), uint8 or values that are not clamped."""
        raise NotImplementedError

    def change(self, image: numpy.ndarray, randomness: CounterRNG, example: int) -> numpy.ndarray:
        """The image, uint8 (size, size, 3), with other colours and geometry."""
        return image


@dataclasses.dataclass(frozen=True)
class Augmentation(TwoStages):
    """Makes training examples of `size` pixels; layers, magnitude: RandAugment's, no layers for none.

    In images below 192 pixels translations and Cutout are shorter in proportion: of a picture of 32 pixels the released
    lengths, up to 150 pixels, would mostly leave nothing.
    """

    size: int
    layers: int = 0
    magnitude: float = 0.0

    def place(self, picture: numpy.ndarray, randomness: CounterRNG, example: int) -> numpy.ndarray:
        """A random part of the picture, flipped or not, resized: float32 (size, size, 3), not clamped."""
        crop = released_crop(picture.shape[:2], self.size, randomness, example)
        part = picture[crop.top:crop.top + crop.height, crop.left:crop.left + crop.width]
        is_flipped = bool(randomness.uniform(f"flip {example}", (1,))[0] < 0.5)
        return bicubic_resize(part, (self.size, self.size), mirrored=is_flipped)

    def change(self, image: numpy.ndarray, randomness: CounterRNG, example: int) -> numpy.ndarray:
        """The image, uint8 (size, size, 3), after RandAugment."""
        layers = draw_layers(randomness, example, self.layers)
        return rand_augment(image, layers, self.magnitude, pixel=min(1.0, self.size / SMALLEST))


@dataclasses.dataclass(frozen=True)
class FlipShift(TwoStages):
    """Makes training examples of `size` pixels: the resized middle of a picture, flipped or not, and shifted.

    The shift is a whole number of pixels, up to an eighth of the side in each direction; what comes in at the edge is
    the mirror image.
    """

    size: int

    def place(self, picture: numpy.ndarray, randomness: CounterRNG, example: int) -> numpy.ndarray:
        """The picture resized, cut, flipped or not, and shifted: uint8 (size, size, 3)."""
        image = resize_image(picture, self.size)
        most = self.size // 8
        flip, down, across = randomness.uniform(f"flip and shift {example}", (3,)).tolist()
        if flip < 0.5:
            image = image[:, ::-1]
        padded = numpy.pad(image, ((most, most), (most, most), (0, 0)), mode="reflect")
        top, left = int(down * (2 * most + 1)), int(across * (2 * most + 1))
        return padded[top:top + self.size, left:left + self.size]


@dataclasses.dataclass(frozen=True)
class TimmAugmentation(TwoStages):
    """Makes training examples of `size` pixels as timm does: a random part, flipped or not, and timm's RandAugment.

    The part is resized by Pillow, antialiased, bilinear or bicubic with probability 1/2. rand_augment: None for none.
    """

    size: int
    rand_augment: TimmRandAugment | None = None

    def place(self, picture: numpy.ndarray, randomness: CounterRNG, example: int) -> numpy.ndarray:
        """A random part of the picture, resized, flipped or not: uint8 (size, size, 3)."""
        crop = timm_crop(picture.shape[:2], randomness, example)
        part = picture[crop.top:crop.top + crop.height, crop.left:crop.left + crop.width]
        flip, chosen = randomness.uniform(f"flip and interpolation {example}", (2,)).tolist()
        resized = Image.fromarray(part).resize((self.size, self.size), FILTERS[int(chosen * len(FILTERS))])
        image = numpy.asarray(resized)
        return image[:, ::-1] if flip < 0.5 else image

    def change(self, image: numpy.ndarray, randomness: CounterRNG, example: int) -> numpy.ndarray:
        """The image, uint8 (size, size, 3), after RandAugment."""
        return image if self.rand_augment is None else self.rand_augment(image, randomness, example)


def as_pixels(values: numpy.ndarray) -> numpy.ndarray:
    """uint8 values as they are; others clipped to 0 … 255 and cut to whole numbers, as the released code does."""
    return values if values.dtype == numpy.uint8 else numpy.clip(values, 0.0, 255.0).astype(numpy.uint8)


AnyAugmentation: TypeAlias = Augmentation | FlipShift | TimmAugmentation
