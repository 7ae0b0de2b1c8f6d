"""What is found in a data set: counts, broken images, files that are there twice.

Used by: report.py, json_report.py, sheet.py. Test: reference_tests/datasets/test_check.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from ..dataset import ArraySplit, Dataset, Split
from ..images import PIXEL_LIMIT
from ..survey import surveyed_size
from .images import UNKNOWN, SplitFacts, examine_split

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Place:
    """One image: the split that it is in, its index there, what a message calls it, and its label."""

    split: str
    index: int
    name: str
    label: int


@dataclass(frozen=True)
class Duplicates:
    """Images whose files, or whose pixels where they are arrays, are equal."""

    places: tuple[Place, ...]

    @property
    def is_leak(self) -> bool:
        """Whether training and test images are among them."""
        return len({place.split for place in self.places}) > 1

    @property
    def is_contradiction(self) -> bool:
        """Whether they have different labels."""
        return len({place.label for place in self.places}) > 1


@dataclass(frozen=True)
class Findings:
    """What is found in a data set.

    facts: of the images of each split. counts: images by class, int64 (classes,), of each split. broken: images that
    cannot be read, and why. duplicates: groups of equal images, those in training and test first.
    """

    dataset: Dataset
    facts: dict[str, SplitFacts]
    counts: dict[str, np.ndarray]
    broken: tuple[tuple[Place, str], ...]
    duplicates: tuple[Duplicates, ...]

    @property
    def is_usable(self) -> bool:
        """Whether every image can be read."""
        return not self.broken

    @property
    def training_size(self) -> str | None:
        """The line about the size at which `train` would train on the images; None for arrays, which have a size."""
        train = self.facts["train"]
        if isinstance(self.dataset.train, ArraySplit) or len(train.broken) == len(train.sizes):
            return None

        def dimensions(index: int) -> tuple[int, int]:
            if index in train.broken:
                raise InputError(train.broken[index])
            return int(train.widths[index]), int(train.heights[index])

        return surveyed_size(len(train.sizes), dimensions, skip_bad=True)[1]

    @property
    def leaked(self) -> int:
        """Number of test images that are training images too."""
        return sum(place.split == "test" for group in self.duplicates if group.is_leak for place in group.places)


def examine_dataset(dataset: Dataset, threads: int, max_pixels: int = PIXEL_LIMIT,
                    progress: Callable[[int], object] = lambda count: None) -> Findings:
    """Read and decode every image of a data set once, on `threads` threads.

    progress: called with the number of images that were read since the last call.
    """
    splits = {name: getattr(dataset, name) for name in SPLITS}
    facts = {name: examine_split(split, threads, max_pixels, progress) for name, split in splits.items()}
    broken = tuple((_place(splits[name], name, index), reason) for name in SPLITS
                   for index, reason in facts[name].broken.items())
    return Findings(
        dataset=dataset,
        facts=facts,
        counts={name: np.bincount(split.labels, minlength=len(dataset.classes)) for name, split in splits.items()},
        broken=broken,
        duplicates=tuple(sorted(_duplicates(splits, facts), key=lambda group: (not group.is_leak,
                                                                                not group.is_contradiction))),
    )


def _place(split: Split, name: str, index: int) -> Place:
    return Place(name, index, split.name(index), int(split.labels[index]))


def _duplicates(splits: dict[str, Split], facts: dict[str, SplitFacts]) -> Sequence[Duplicates]:
    """The groups of images with equal hashes, in the order of their first images."""
    digests = np.concatenate([facts[name].digests for name in SPLITS])
    _, group_of, sizes = np.unique(digests, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero((sizes[group_of] > 1) & (digests != UNKNOWN))
    training = len(splits["train"])
    groups: dict[int, list[Place]] = {}
    for position in repeated.tolist():
        name, index = ("train", position) if position < training else ("test", position - training)
        groups.setdefault(int(group_of[position]), []).append(_place(splits[name], name, index))
    return [Duplicates(tuple(places)) for places in groups.values()]
