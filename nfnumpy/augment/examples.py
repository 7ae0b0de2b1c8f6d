"""The training examples of a run: pictures in the order of every epoch, augmented and mixed.

An example is known by its number alone: number e·N + p is the one at position p of epoch e, of N pictures. So what is
made for it depends on the seed, the epoch and its position, and not on the thread or process that makes it, nor on
where a run was resumed.

Used by: training/examples.py, __main__.py, sheet.py. Test: reference_tests/augment/test_examples.py.
"""

import functools
from collections.abc import Sequence

import numpy

from ..backend import CounterRNG, KeyedPermutation
from ..datasets import Examples, Split
from .erasing import RandomErasing
from .jitter import ColorJitter
from .mixing import mixed_labels
from .pairs import Mix, Mixing
from .pipeline import AnyAugmentation, as_pixels

# Sorting the random numbers of so many pictures takes 16 MB and a tenth of a second in every epoch.
MOST_SORTED = 2**20


@functools.lru_cache(maxsize=4)
def _order(site: str, seed: int, epoch: int, count: int, is_keyed: bool) -> numpy.ndarray | KeyedPermutation:
    """The pictures of an epoch in their order."""
    randomness = CounterRNG(seed, epoch)
    return KeyedPermutation(randomness, site, count) if is_keyed else randomness.permutation(site, count)


class TrainingExamples(Examples):
    """Examples number 0 … epochs·N - 1 of a split of N pictures, N to an epoch.

    classes: how many there are; batch_size: of the steps, which mixing depends on; None for no augmentation, mixing,
    color jitter or erasing. Color jitter follows the augmentation's RandAugment; what is erased is erased last, after
    mixing. is_keyed: whether the order of an epoch is a KeyedPermutation, which needs no memory, or sorted random
    numbers.
    In the released form of mixing a picture is read twice in an epoch, once as an example's first image and once as
    a partner, with another crop.
    """

    def __init__(self, split: Split, classes: int, batch_size: int, epochs: int, seed: int,
                 augmentation: AnyAugmentation | None = None, mixing: Mixing | None = None,
                 jitter: ColorJitter | None = None, erasing: RandomErasing | None = None,
                 is_keyed: bool = False) -> None:
        self.split = split
        self.classes = classes
        self.batch_size = batch_size
        self.epochs = epochs
        self.seed = seed
        self.augmentation = augmentation
        self.mixing = mixing or Mixing()
        self.jitter = jitter
        self.erasing = erasing
        self.is_keyed = is_keyed
        self.image_size = split.image_size
        self.needs_decoding = split.needs_decoding or any((augmentation, mixing, jitter, erasing))

    def __len__(self) -> int:
        return self.epochs * len(self.split)

    @property
    def bad_images(self) -> dict[int, str]:
        """Those of the split."""
        return self.split.bad_images

    def numbers(self, epoch: int, done: int, steps: int) -> range:
        """The numbers of an epoch's examples in their order, without those of the `done` first of its `steps` steps."""
        start = epoch * len(self.split)
        return range(start + done * self.batch_size, start + steps * self.batch_size)

    def index(self, number: int) -> int:
        """The index in the split of the picture that the example is made of, or of the first of the two."""
        epoch, position = divmod(number, len(self.split))
        return int(self._order(epoch)[position])

    def number(self, epoch: int, index: int) -> int:
        """The number of the example that is made of the picture at `index`, or has it as its first, in an epoch."""
        return epoch * len(self.split) + int(numpy.flatnonzero(self._order(epoch)[:] == index)[0])

    def take(self, numbers: Sequence[int] | numpy.ndarray) -> numpy.ndarray:
        """The examples with these numbers, uint8 (n, image_size, image_size, 3)."""
        if not self.needs_decoding:
            return self.split.take(numpy.array([self.index(int(number)) for number in numbers], dtype=numpy.int64))
        images = numpy.empty((len(numbers), self.image_size, self.image_size, 3), dtype=numpy.uint8)
        made: dict[tuple[int, int], numpy.ndarray] = {}
        for row, number in enumerate(numbers):
            image = self._example(int(number), made)
            images[row] = image if self.erasing is None else self._erased(image, int(number))
        return images

    def targets(self, numbers: numpy.ndarray) -> tuple[numpy.ndarray, ...]:
        """(labels int64 (n,),), those of the first images; where the epoch mixes also shares float32 (n, classes)."""
        firsts = self.split.labels[[self.index(int(number)) for number in numbers]]
        if not self.mixing.is_on(int(numbers[0]) // len(self.split)):
            return (firsts,)
        partners = self.split.labels[[self._partner(int(number))[1] for number in numbers]]
        ratios = numpy.array([self._mix(int(number)).ratio for number in numbers])
        return firsts, mixed_labels(firsts, partners, ratios, self.classes)

    def _example(self, number, made):
        """One example, uint8 (image_size, image_size, 3).

        made: images that are not mixed yet; in timm's form each of them is needed for the next example too.
        """
        epoch = number // len(self.split)
        randomness = CounterRNG(self.seed, epoch)
        index = self.index(number)
        if not self.mixing.is_on(epoch):
            return self._changed(self._placed(randomness, index, index), randomness, index)
        mix, second = self._mix(number), self._partner(number)
        parts = [self._part(randomness, part, made) for part in ((index, index), second)]
        mixed = mix.apply(*parts)
        if self.mixing.augment_first:
            return numpy.rint(mixed).astype(numpy.uint8)
        return self._changed(mixed, randomness, index)

    def _part(self, randomness, part, made):
        """One of two images to be mixed, of `part` = (example, index): values, or uint8 where it is augmented first."""
        if part not in made:
            example, index = part
            values = self._placed(randomness, example, index)
            made_now = self._changed(values, randomness, example) if self.mixing.augment_first else values
            if self.mixing.form != "timm":
                return made_now
            if len(made) >= 2:
                made.clear()
            made[part] = made_now
        return made[part]

    def _placed(self, randomness, example, index):
        """A picture cut and resized, as the augmentation has it."""
        if self.augmentation is None:
            return self.split.read(index)
        return self.augmentation.place(self.split.read_whole(index), randomness, example)

    def _changed(self, values, randomness, example):
        """Values as an image whose colours and geometry are augmented, uint8."""
        image = as_pixels(values)
        if self.augmentation is not None:
            image = self.augmentation.change(image, randomness, example)
        return image if self.jitter is None else self.jitter(image, randomness, example)

    def _erased(self, image, number):
        """The finished image of an example with a part of it erased."""
        return self.erasing(image, CounterRNG(self.seed, number // len(self.split)), self.index(number))

    def _mix(self, number: int) -> Mix:
        """How the example is mixed with its partner."""
        epoch, position = divmod(number, len(self.split))
        return self.mixing.draw(self.image_size, self.batch_size, CounterRNG(self.seed, epoch), position,
                                self.index(number))

    def _partner(self, number: int) -> tuple[int, int]:
        """(example, index) of the partner: by which number its crop is drawn, and its index in the split."""
        count = len(self.split)
        epoch, position = divmod(number, count)
        if self.mixing.form == "timm":
            index = int(self._order(epoch)[self._neighbour(position)])
            return index, index
        index = int(_order("order of partners", self.seed, epoch, count, self.is_keyed)[position])
        return count + index, index

    def _neighbour(self, position: int) -> int:
        """The position of timm's partner: the other one of two in the same step, itself where the step has no other."""
        place = position % self.batch_size
        other = place ^ 1
        return position - place + (other if other < self.batch_size else place)

    def _order(self, epoch: int) -> numpy.ndarray | KeyedPermutation:
        return _order("order of training images", self.seed, epoch, len(self.split), self.is_keyed)
