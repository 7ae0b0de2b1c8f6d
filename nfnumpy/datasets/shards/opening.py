"""Opening a data set of tar shards.

Used by: datasets/__init__.py. Test: reference_tests/datasets/test_shards.py.
"""

import contextlib
import os
from collections.abc import Sequence

from ...cli import progress_bar
from ...errors import InputError
from ...files import atomic_write
from ..dataset import Dataset
from ..decoders import ENDINGS
from ..reading import ReadingOptions
from ..survey import surveyed_size
from .class_names import read_class_names
from .index import ShardIndex, build_index, from_bytes, to_bytes
from .patterns import TEST_NAMES, find_shards
from .split import ShardSplit

FIELDS = tuple(ending.removeprefix(".") for ending in ENDINGS)


def open_shards(location: str, image_size: int | None = None, reading: ReadingOptions | None = None) -> Dataset:
    """Open the tar shards of a folder or a pattern such as PATH/name-{000000..000146}.tar as a Dataset.

    find_shards says which files are meant, read_class_names what the classes are called. Without `image_size` (pixels)
    it is the size that `reading` prefers, or one that the images' own sizes suggest. Raises InputError when there are
    no shards, and for those that cannot be read or hold something else than labelled images.
    """
    reading = reading or ReadingOptions()
    train_paths, test_paths = find_shards(location)
    if not test_paths:
        raise InputError(f"{location}: has no test shards, expected them beside, with {' or '.join(TEST_NAMES)} in the "
                         "place of train")
    train_indices, test_indices = load_indices(train_paths), load_indices(test_paths)
    classes = read_class_names(train_paths[0], 1 + _largest_label(train_indices, location))
    unknown = _largest_label(test_indices, test_paths[0])
    if unknown >= len(classes):
        raise InputError(f"{test_paths[0]}: a test label is {unknown}, expected 0..{len(classes) - 1} as in training")
    image_size, remarks = image_size or reading.preferred_size, []
    if image_size is None:
        unsized = ShardSplit(train_paths, train_indices, reading.training_reader(1))
        image_size, remark = surveyed_size(len(unsized), unsized.dimensions, skip_bad=reading.on_bad_image == "skip")
        remarks.append(remark)
    return Dataset(
        name=f"shards:{location}",
        classes=classes,
        image_size=image_size,
        train=ShardSplit(train_paths, train_indices, reading.training_reader(image_size)),
        test=ShardSplit(test_paths, test_indices, reading.test_reader(image_size)),
        remarks=tuple(remarks),
    )


def load_indices(paths: Sequence[str]) -> list[ShardIndex]:
    """The index of every shard: from the file beside it if that fits, else read from the shard and written there."""
    stored = {path: _stored(path) for path in paths}
    for path in progress_bar([path for path in paths if stored[path] is None], desc="index of shards", unit="shard"):
        stored[path] = built = build_index(path, FIELDS)
        with contextlib.suppress(InputError):  # a folder that cannot be written to: read again the next time
            atomic_write(index_path(path), to_bytes(built, FIELDS))
    return [index for path in paths if (index := stored[path]) is not None]


def index_path(shard: str) -> str:
    """Where the index of a shard is kept: a hidden file beside it."""
    folder, name = os.path.split(shard)
    return os.path.join(folder, f".{name}.index")


def _stored(shard: str) -> ShardIndex | None:
    """The index that is kept for a shard, if there is one that fits."""
    if not os.path.isfile(index_path(shard)):
        return None
    try:
        status = os.stat(shard)
        with open(index_path(shard), "rb") as file:
            # An index says of each image where it is and what it is called: it is shorter than the shard.
            content = file.read(status.st_size + 2**16)
    except OSError:
        return None
    return from_bytes(content, status, FIELDS)


def _largest_label(indices: Sequence[ShardIndex], what: str) -> int:
    """The largest label; InputError if no shard has an image."""
    largest = max((int(index.labels.max()) for index in indices if len(index)), default=-1)
    if largest < 0:
        fields = sorted({field for index in indices for field in index.ignored})
        raise InputError(f"{what}: has no labelled images, expected members like 0001.jpg and 0001.cls"
                         + (f", found only {', '.join(fields[:10])}" if fields else ""))
    return largest
