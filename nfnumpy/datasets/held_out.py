"""Which pictures of a folder or of shards without test pictures are kept for testing.

The draw depends on the pictures' names alone, without their endings and with dots as shards have them: it is the same
for every seed, on every machine, for training and evaluation, and for a folder and the shards that were made of it; and
a picture that is added moves hardly any other one from one side to the other.

Used by: folder.py, shards/opening.py. Test: reference_tests/datasets/test_folder.py.
"""

import hashlib
import itertools
from collections.abc import Iterable

import numpy as np

from ..errors import InputError


def drawn_for_test(what: str, names: Iterable[bytes], labels: np.ndarray, classes: tuple[str, ...],
                   share: float) -> np.ndarray:
    """Whether each of N pictures is for testing, bool (N,): of every class those with the lowest hashes of names.

    As many as `share` of the class, rounded, but at least one, and not all. what: what an InputError calls the data.
    names: of the pictures with their endings, without the folder or shard that all are in. labels: int64 (N,), negative
    of pictures of no class. InputError for a class of one picture.
    """
    keys = np.fromiter(map(_hash, names), dtype=np.uint64, count=len(labels))
    order = np.lexsort((keys, labels))  # by label, within a class by hash
    drawn = np.zeros(len(labels), dtype=bool)
    starts = np.searchsorted(labels, np.arange(len(classes) + 1), sorter=order)
    for name, (start, stop) in zip(classes, itertools.pairwise(starts), strict=True):
        size = int(stop - start)
        if size == 0:
            continue  # a class of shards may have a name and no picture
        if size < 2:
            raise InputError(f"{what}: class {name!r} has one picture, expected at least two, one of them to test on")
        count = min(max(1, round(share * size)), size - 1)
        drawn[order[start:start + count]] = True
    return drawn


def _hash(name: bytes) -> int:
    """A hash of the key that a picture has in shards: shards/writer.py turns dots into "_", tar adds a "./"."""
    folder, slash, last = name.removeprefix(b"./").rpartition(b"/")
    key = folder + slash + last.rpartition(b".")[0].replace(b".", b"_")
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")
