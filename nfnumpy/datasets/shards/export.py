"""Writing a whole data set as tar shards: the shards of its splits, and the names of its classes.

Used by: data.py. Test: reference_tests/datasets/test_shard_writer.py.
"""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import InputError
from ...files import atomic_write
from ..dataset import Dataset
from ..staging import move_into_place, staging_folder
from .class_names import TEXT, class_names_file
from .stored_index import remove_stored_index
from .writer import ShardSize, write_shards

SPLITS = ("train", "test")


def write_dataset(dataset: Dataset, out: str | os.PathLike[str], size: ShardSize, splits: Sequence[str] = SPLITS,
                  overwrite: bool = False, seed: int | None = None,
                  progress: Callable[[], object] = lambda: None) -> dict[str, int]:
    """Write OUT/train-000000.tar …, OUT/test-000000.tar … and OUT/classes.txt; returns the number of shards by split.

    The shards get their names after the last one is whole: a writer that is killed before leaves none of them. Those
    that were there before are removed last; killed between two renames, a writer leaves some of both.
    overwrite: whether shards of these splits that are there are replaced; otherwise they are an InputError, as is a
    folder that cannot be written to and an image that cannot be read. seed: of a random order of the training images;
    None for their own order. progress: called after each image.
    """
    folder = Path(out)
    content = class_names_file(dataset.classes)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = [path for name in splits for path in _shards_of(name, folder)]
        _check_what_is_there(folder, before, content, overwrite)
        with staging_folder(folder) as staging:
            counts = {name: _write_split(dataset, name, staging, size, seed, progress) for name in splits}
            atomic_write(staging / TEXT, content)
            written = {path.name for path in staging.iterdir()}
            move_into_place(staging, folder)
            for path in before:
                if path.name not in written:
                    path.unlink()
                    remove_stored_index(path)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return counts


def _check_what_is_there(folder: Path, shards: Sequence[Path], classes: bytes, overwrite: bool) -> None:
    """InputError for shards that are there, and for a list of other classes, unless they are to be overwritten."""
    if shards and not overwrite:
        raise InputError(f"{shards[0]}: is there already; --overwrite (overwrite=True) replaces the {len(shards)} "
                         "shards of this split, or choose another folder")
    names = folder / TEXT
    if names.exists() and not overwrite and names.read_bytes() != classes:
        raise InputError(f"{names}: is there already and has other classes; --overwrite (overwrite=True) replaces it, "
                         "or choose another folder")


def _write_split(dataset: Dataset, name: str, folder: Path, size: ShardSize, seed: int | None,
                 progress: Callable[[], object]) -> int:
    """Write one split; returns the number of shards that it takes."""
    count = 0
    for shard in write_shards(getattr(dataset, name), folder, name, size, seed if name == "train" else None):
        if shard is None:
            progress()
        else:
            count += 1
    return count


def _shards_of(name: str, folder: Path) -> list[Path]:
    """The shards of a split that are in a folder."""
    return sorted(path for path in folder.iterdir() if re.fullmatch(rf"{name}-\d{{6,}}\.tar", path.name))
