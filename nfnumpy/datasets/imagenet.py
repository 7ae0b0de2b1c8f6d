"""The names of the 1,000 classes of ImageNet (ILSVRC 2012), in the order of every published network's outputs."""

import functools
from collections import Counter

from .embedded import embedded_directory


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """1,000 different names; the first word of WordNet for each class, with its number where two classes share it."""
    first = [words.split(", ")[0] for _, words in _entries()]
    shared = Counter(first)
    return tuple(name if shared[name] == 1 else f"{name} ({number})"
                 for name, (number, _) in zip(first, _entries(), strict=True))


@functools.cache
def imagenet_numbers() -> tuple[str, ...]:
    """The WordNet numbers of the classes, such as n01440764: the names of their folders in the data set."""
    return tuple(number for number, _ in _entries())


def _entries() -> list[list[str]]:
    """[number, words] of every class."""
    path = embedded_directory("imagenet", "the names of ImageNet's classes") / "classes.txt"
    return [line.split(" ", 1) for line in path.read_text(encoding="ascii").splitlines()]
