"""The names of the 1,000 classes of ImageNet (ILSVRC 2012), in the order of every published network's outputs."""

from collections import Counter

from .embedded import embedded_directory


def imagenet_classes() -> tuple[str, ...]:
    """1,000 different names; the first word of WordNet for each class, with its number where two classes share it."""
    path = embedded_directory("imagenet", "the names of ImageNet's classes") / "classes.txt"
    entries = [line.split(" ", 1) for line in path.read_text(encoding="ascii").splitlines()]
    first = [words.split(", ")[0] for _, words in entries]
    shared = Counter(first)
    return tuple(name if shared[name] == 1 else f"{name} ({number})"
                 for name, (number, _) in zip(first, entries, strict=True))
