"""The index of every shard: from a file in the user's cache folder if that fits, else read from the shard.

Used by: opening.py, export.py. Test: reference_tests/datasets/test_shards.py.
"""

import contextlib
import hashlib
import os
from collections.abc import Sequence

from ...cli import progress_bar
from ...errors import InputError
from ...files import atomic_write
from ..decoders import ENDINGS
from ..index_file import cache_folder
from .index import ShardIndex, build_index, from_bytes, to_bytes

FIELDS = tuple(ending.removeprefix(".") for ending in ENDINGS)
LEAST_IMAGES = 20_000  # of all shards together; fewer are read in about a second


def load_indices(paths: Sequence[str]) -> list[ShardIndex]:
    """The index of every shard; those that had to be read are kept, if the shards have many images together.

    InputError for a shard that cannot be read.
    """
    known = {path: index for path in paths if (index := _stored(path)) is not None}
    images = sum(map(len, known.values()))
    unsaved: list[str] = []
    for path in progress_bar([path for path in paths if path not in known], desc="index of shards", unit=" shards"):
        known[path] = build_index(path, FIELDS)
        images += len(known[path])
        unsaved.append(path)
        if images >= LEAST_IMAGES:  # already now: reading the rest may take minutes, and be interrupted
            for read in unsaved:
                _store(read, known[read])
            unsaved.clear()
    return [known[path] for path in paths]


def index_path(shard: str | os.PathLike[str]) -> str:
    """The path of the file that the index of a shard is kept in."""
    digest = hashlib.blake2b(os.fsencode(os.path.realpath(shard)), digest_size=16).hexdigest()
    return os.path.join(cache_folder(), f"shard-{digest}.safetensors")


def remove_stored_index(shard: str | os.PathLike[str]) -> None:
    """Remove the index that is kept for a shard, if there is one."""
    with contextlib.suppress(OSError):
        os.unlink(index_path(shard))


def _store(shard: str, index: ShardIndex) -> None:
    """Keep an index. A cache that cannot be written is no error: the shard is read again."""
    path = index_path(shard)
    with contextlib.suppress(OSError, InputError):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        atomic_write(path, to_bytes(index, FIELDS))


def _stored(shard: str) -> ShardIndex | None:
    """The index that is kept for a shard, if there is one that fits."""
    path = index_path(shard)
    if not os.path.isfile(path):
        return None
    try:
        status = os.stat(shard)
        with open(path, "rb") as file:
            # An index says of each image where it is and what it is called: it is shorter than the shard.
            content = file.read(status.st_size + 2**16)
    except OSError:
        return None
    return from_bytes(content, status, FIELDS)
