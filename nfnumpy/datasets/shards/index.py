"""Where the labelled images of a shard are: read once from the archive, then kept in a file.

The file is a safetensors file, a format that cannot carry code. It may come from anywhere, so whatever in it does not
fit the shard makes it count as missing, and the archive is read again.

Used by: stored_index.py, split.py. Test: reference_tests/datasets/test_shards.py.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO

import numpy as np
import safetensors.numpy

from ...errors import InputError
from .samples import LARGEST_LABEL, Sample, samples
from .tar import BLOCK, Member, members

VERSION = "nfnumpy shard index 1"
FIELD = "index"  # of the metadata
BUFFERED = 4096  # bytes: a header, a label and the next header are one read


@dataclass(frozen=True)
class ShardIndex:
    """The N labelled images of a shard of `size` bytes that was last changed at `time` (nanoseconds).

    offsets, sizes (bytes of an image in the shard), labels, name_ends: int64 (N,). names: the images' names in UTF-8,
    one after another without a gap, uint8. ignored: field -> number of members that are neither image nor label.
    """

    size: int
    time: int
    offsets: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    names: np.ndarray
    name_ends: np.ndarray
    ignored: dict[str, int]

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, position: int) -> str:
        """The name that an image has in the archive."""
        begin = self.name_ends[position - 1] if position else 0
        return self.names[begin:self.name_ends[position]].tobytes().decode("utf-8", "surrogateescape")


def build_index(path: str, endings: Iterable[str]) -> ShardIndex:
    """Read the index of the shard at `path` from its headers; endings: the fields that are images, such as "jpg".

    InputError for an archive that cannot be read, or whose samples are not labelled images.
    """
    try:
        with open(path, "rb", buffering=BUFFERED) as file:
            status = os.fstat(file.fileno())
            ignored: Counter[str] = Counter()
            found = list(samples(members(file, path), lambda member: _content(file, member), frozenset(endings), path,
                                 ignored))
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: expected a tar file that can be read: {error}") from error
    return _index_of(found, status, ignored)


def to_bytes(index: ShardIndex, endings: Iterable[str]) -> bytes:
    """The index as the content of a file."""
    facts = {"version": VERSION, "size": index.size, "time": index.time, "endings": sorted(endings),
             "ignored": index.ignored}
    arrays = {name: getattr(index, name) for name in ("offsets", "sizes", "labels", "names", "name_ends")}
    return safetensors.numpy.save(arrays, {FIELD: json.dumps(facts, sort_keys=True)})


def from_bytes(content: bytes, status: os.stat_result, endings: Iterable[str]) -> ShardIndex | None:
    """The index in the content of a file, or None unless it is one of the shard that has the status `status`."""
    try:
        with_header = safetensors.deserialize(content)
        length = int.from_bytes(content[:8], "little")
        facts = json.loads(json.loads(content[8:8 + length])["__metadata__"][FIELD])
        arrays = {name: _array(tensor) for name, tensor in with_header}
        expected = {"version": VERSION, "size": status.st_size, "time": status.st_mtime_ns, "endings": sorted(endings)}
        if {name: facts[name] for name in expected} != expected:
            return None
        ignored = facts["ignored"]
        if not isinstance(ignored, dict) or not all(type(count) is int for count in ignored.values()):
            return None
        index = ShardIndex(size=status.st_size, time=status.st_mtime_ns, ignored=ignored, **arrays)
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError, AttributeError, OverflowError,
            RecursionError):
        return None
    return index if _is_sound(index) else None


def _content(file: IO[bytes], member: Member) -> bytes:
    file.seek(member.offset)
    return file.read(member.size)


def _index_of(found: list[Sample], status: os.stat_result, ignored: Counter[str]) -> ShardIndex:
    names = [sample.image.name.encode("utf-8", "surrogateescape") for sample in found]
    return ShardIndex(
        size=status.st_size,
        time=status.st_mtime_ns,
        offsets=np.array([sample.image.offset for sample in found], dtype=np.int64),
        sizes=np.array([sample.image.size for sample in found], dtype=np.int64),
        labels=np.array([sample.label for sample in found], dtype=np.int64),
        names=np.frombuffer(b"".join(names), dtype=np.uint8),
        name_ends=np.cumsum([len(name) for name in names], dtype=np.int64),
        ignored=dict(ignored),
    )


def _array(tensor: dict) -> np.ndarray:
    """A tensor of a safetensors file, of one axis, as int64 or uint8; ValueError for another one."""
    kinds = {"I64": np.int64, "U8": np.uint8}
    if tensor["dtype"] not in kinds or len(tensor["shape"]) != 1:
        raise ValueError("a tensor that no index has")
    return np.frombuffer(tensor["data"], dtype=kinds[tensor["dtype"]])


def _is_sound(index: ShardIndex) -> bool:
    """Whether all that the arrays of an index say lies within its shard."""
    count = len(index.labels)
    numbers = (index.offsets, index.sizes, index.labels, index.name_ends)
    if index.names.dtype != np.uint8 or any(array.shape != (count,) or array.dtype != np.int64 for array in numbers):
        return False
    if count == 0:
        return index.names.size == 0
    left = index.size - index.offsets
    lengths = np.diff(index.name_ends, prepend=0)
    return bool(
        np.all((index.offsets >= BLOCK) & (index.offsets % BLOCK == 0) & (index.offsets <= index.size))
        and np.all((index.sizes >= 0) & (index.sizes <= left))
        and np.all(index.sizes[:-1] <= np.diff(index.offsets))
        and np.all((index.labels >= 0) & (index.labels <= LARGEST_LABEL))
        and np.all((index.name_ends > 0) & (lengths > 0))
        and index.name_ends[-1] == len(index.names)
    )
