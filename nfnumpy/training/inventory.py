"""Which images a run is trained and tested on: a list in its folder, whose digest is in its checkpoints.

inventory.tsv.gz has a line for each image, in order: split, label, mark, name within the split, with tabs between. The
mark is the size of a file in bytes, or the CRC-32 of an array. So a data folder may be moved or renamed, and an image
that was changed, swapped, added or given another label is noticed, unless its size in bytes is the same. Above
datasets.folder.MOST_MEASURED files in a split, the sizes are those of the folder's index file, which does not notice
that a file was overwritten in place.
"""

import gzip
import hashlib
import io
import itertools
import zlib
from collections.abc import Callable, Iterator

from ..datasets import Dataset
from ..files import atomic_write
from .run_folder import INVENTORY, RunFolder

LINES = 4096  # hashed and compressed together


def _lines(dataset: Dataset) -> Iterator[bytes]:
    """The lines of the inventory, without their ends."""
    for split, images in (("train", dataset.train), ("test", dataset.test)):
        for name, label, mark in images.inventory():
            name = name.replace("\\", "\\\\").replace("\n", "\\n")
            yield f"{split}\t{label}\t{mark}\t{name}".encode("utf-8", "surrogateescape")


def digest_of(dataset: Dataset) -> str:
    """The digest of the inventory of `dataset`, as text."""
    return _digest_and_content(dataset, compress=False)[0]


def write_inventory(dataset: Dataset, folder: RunFolder) -> str:
    """Write the inventory of `dataset` to the folder of a run; returns its digest."""
    digest, content = _digest_and_content(dataset, compress=True)
    atomic_write(folder.file(INVENTORY), content)
    return digest


def _digest_and_content(dataset: Dataset, compress: bool) -> tuple[str, bytes]:
    """(digest, compressed lines) of the inventory; without `compress` the second one is empty."""
    digest = hashlib.blake2b(digest_size=16)
    content = io.BytesIO()
    with gzip.GzipFile(fileobj=content, mode="wb", compresslevel=1, mtime=0) as file:
        lines = _lines(dataset)
        while part := list(itertools.islice(lines, LINES)):
            block = b"\n".join(part) + b"\n"
            digest.update(block)
            if compress:
                file.write(block)
    return digest.hexdigest(), content.getvalue() if compress else b""


def difference_of(dataset: Dataset, digest: str, folder: RunFolder) -> str | None:
    """What differs between `dataset` and the inventory, with this digest, in the folder of a run; None for nothing.

    It names the first image that differs.
    """
    if digest_of(dataset) == digest:
        return None
    try:
        return _first_difference(lambda: _stored_lines(folder), lambda: _lines(dataset), dataset.classes)
    except (OSError, EOFError, zlib.error):
        return f"which ones differ cannot be said, because {folder.file(INVENTORY)} cannot be read"


def _stored_lines(folder: RunFolder) -> Iterator[bytes]:
    """The lines of the inventory in the folder of the run; OSError, EOFError or zlib.error if it cannot be read."""
    with gzip.open(folder.file(INVENTORY)) as file:
        for line in file:
            yield line.rstrip(b"\n")


def _first_difference(before: Callable[[], Iterator[bytes]], now: Callable[[], Iterator[bytes]],
                      classes: tuple[str, ...]) -> str:
    """What the first lines that differ say; `before`, `now`: the lines then and now, read anew by each call."""
    pairs = itertools.zip_longest(before(), now())
    old, new = next(((old, new) for old, new in pairs if old != new), (None, None))
    if old is not None and new is not None and _name(old) == _name(new):
        labels = [line.split(b"\t")[1].decode() for line in (old, new)]
        if labels[0] != labels[1]:
            return f"{_name(new)} was {_class(labels[0], classes)}, and now it is {_class(labels[1], classes)}"
        return f"{_name(new)} has another content"
    if new is not None and _name(new) not in map(_name, before()):
        return f"{_name(new)} was added"
    if old is not None and _name(old) not in map(_name, now()):
        return f"{_name(old)} is missing"
    return "they come in another order" if old is not None else f"{INVENTORY} was changed"


def _name(line: bytes) -> str:
    """SPLIT/NAME of a line."""
    fields = line.split(b"\t", 3)
    return f"{fields[0].decode()}/{fields[-1].decode('utf-8', 'surrogateescape')}"


def _class(label: str, classes: tuple[str, ...]) -> str:
    """The name of the class with the number `label`."""
    return classes[int(label)] if label.isdigit() and int(label) < len(classes) else f"class {label}"
