"""Writing a split of labelled images as tar shards that WebDataset and open_shards read alike.

Image files are copied as they are; equal images, names and labels give equal shards.

Used by: export.py. Test: reference_tests/datasets/test_shard_writer.py.
"""

import io
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...backend import CounterRNG
from ...errors import InputError
from ..dataset import Split
from .samples import LABEL, METADATA

BLOCK, END = tarfile.BLOCKSIZE, tarfile.RECORDSIZE


@dataclass(frozen=True)
class ShardSize:
    """When a shard is full: at `images` images, or before it has more than `bytes_` bytes. Each holds one at least."""

    images: int | None = None
    bytes_: int | None = None

    def is_exceeded(self, images: int, bytes_: int) -> bool:
        """Whether a shard of `images` images and `bytes_` bytes is too large."""
        too_many = self.images is not None and images > self.images
        return too_many or (self.bytes_ is not None and bytes_ > self.bytes_)


def write_shards(split: Split, folder: Path, name: str, size: ShardSize,
                 seed: int | None = None) -> Iterator[Path | None]:
    """Write the images of a split, in their order, to FOLDER/NAME-000000.tar, FOLDER/NAME-000001.tar, …

    seed: write them in a random order instead, which this seed and the number of images decide.
    Generates the path of each shard once it is whole and on the disk, and None after each image, for a progress bar.
    A sample is the image's file under its name in the split and its label as "cls"; an image of an array is a PNG under
    its number. InputError for an image that cannot be read.
    """
    shard = _Shard(folder / f"{name}-{0:06d}.tar")
    number = 0
    for index, listed in _ordered_names(split, seed):
        label = int(split.labels[index])
        content, ending = split.encoded(index)
        key = base_key(listed, ending, index)
        if shard.count and size.is_exceeded(shard.count + 1, shard.bytes_with(content, label)):
            shard.close()
            yield shard.path
            number += 1
            shard = _Shard(folder / f"{name}-{number:06d}.tar")
        shard.add(key, ending, content, label)
        yield None
    shard.close()
    yield shard.path


def _ordered_names(split: Split, seed: int | None) -> Iterable[tuple[int, str]]:
    """(index, name) of every image, in order or, with a seed, in a random one."""
    names = (name for name, _, _ in split.inventory())
    if seed is None:
        return enumerate(names)
    listed = list(names)
    return ((int(index), listed[index]) for index in CounterRNG(seed).permutation("order in shards", len(listed)))


def base_key(name: str, ending: str, index: int) -> str:
    """The key of an image: its name without the ending, no dot in the last part; its number if it has no file name.

    WebDataset ends a key at the first dot, and leaves out names that begin with two underscores. Names in shards from
    elsewhere may lead out of a folder; "/" before them and ".." in them are left out.
    """
    if not name.endswith(ending):
        return f"{index:08d}"
    parts = name.removesuffix(ending).replace(os.sep, "/").split("/")
    folders = [part for part in parts[:-1] if part not in ("", "..")]
    key = "/".join([*folders, parts[-1].replace(".", "_")])
    return f"./{key}" if METADATA.match(key) else key


class _Shard:
    """A tar file that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.keys: set[str] = set()
        try:
            self.file = open(path, "xb")
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
        # GNU's format: a name of any bytes needs no second header up to a length of 100.
        self.tar = tarfile.open(fileobj=self.file, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8",
                                errors="surrogateescape")

    def bytes_with(self, content: bytes, label: int) -> int:
        """The size of the shard if this image came in and nothing else."""
        blocks = 2 + -(-len(content) // BLOCK) + -(-len(str(label)) // BLOCK)
        return -(-(self.tar.offset + (blocks + 2) * BLOCK) // END) * END

    def add(self, key: str, ending: str, content: bytes, label: int) -> None:
        """Append one sample under a key that the shard does not have yet."""
        unique = key
        number = 1
        while unique in self.keys:
            number += 1
            unique = f"{key}_{number}"
        self.keys.add(unique)
        self.count += 1
        for name, data in ((unique + ending, content), (f"{unique}.{LABEL}", b"%d" % label)):
            member = tarfile.TarInfo(name)  # without times and owners, which would make equal shards differ
            member.size = len(data)
            self.tar.addfile(member, io.BytesIO(data))

    def close(self) -> None:
        """End the archive and wait until it is on the disk."""
        self.tar.close()
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
