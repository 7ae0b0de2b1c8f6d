"""Opening a data set of tar shards.

Used by: datasets/__init__.py. Test: reference_tests/datasets/test_shards.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...errors import InputError
from ..dataset import Dataset
from ..folder_layout import TEST_NAMES
from ..held_out import drawn_for_test
from ..reading import ReadingOptions
from ..survey import surveyed_size
from .class_names import read_class_names
from .index import ShardIndex
from .patterns import find_shards
from .split import ShardSplit, all_labels, encoded_names
from .stored_index import load_indices


class _Part(NamedTuple):
    """The images of a split: those selected of the images of some shards, or all where `selected` is None."""

    paths: list[str]
    indices: list[ShardIndex]
    selected: np.ndarray | None = None


def open_shards(location: str, image_size: int | None = None, reading: ReadingOptions | None = None) -> Dataset:
    """Open the tar shards of a folder or a pattern such as PATH/name-{000000..000146}.tar as a Dataset.

    find_shards says which files are meant, read_class_names what the classes are called. With `reading.test_share` the
    test images are drawn from the training shards. Without `image_size` (pixels) it is the size that `reading` prefers,
    or one that the images' own sizes suggest. Raises InputError when there are no shards, and for those that cannot be
    read or hold something else than labelled images.
    """
    reading = reading or ReadingOptions()
    train_paths, test_paths, unread = find_shards(location)
    if not test_paths and reading.test_share is None:
        raise InputError(f"{location}: has no test shards, expected them beside, with {' or '.join(TEST_NAMES)} in the "
                         "place of train; --test-share 0.1 draws a tenth of every class's images for that")
    indices = load_indices(train_paths)
    classes = read_class_names(train_paths[0], 1 + _largest_label(indices, location))
    if reading.test_share is None:
        train, test = _Part(train_paths, indices), _Part(test_paths, load_indices(test_paths))
        _check_labels(test, classes)
    else:
        labels = all_labels(indices)
        is_test = drawn_for_test(location, encoded_names(indices), labels, classes, reading.test_share)
        train, test = _Part(train_paths, indices, ~is_test), _Part(train_paths, indices, is_test)
        unread = test_paths + unread
    remarks = [f"not read: {unread[0]}" + (f" and {len(unread) - 1} more tar files" if len(unread) > 1 else "")] \
        if unread else []
    size = image_size or reading.preferred_size
    if size is None:
        size, remark = _surveyed(train, reading)
        remarks.append(remark)
    return Dataset(
        name=f"shards:{location}",
        classes=classes,
        image_size=size,
        train=ShardSplit(train.paths, train.indices, reading.training_reader(size), train.selected),
        test=ShardSplit(test.paths, test.indices, reading.test_reader(size), test.selected),
        remarks=tuple(remarks),
    )


def _surveyed(train: _Part, reading: ReadingOptions) -> tuple[int, str]:
    """(size in pixels that the training images suggest, the line that says why)."""
    split = ShardSplit(train.paths, train.indices, reading.training_reader(1), train.selected)
    return surveyed_size(len(split), split.dimensions, skip_bad=reading.on_bad_image == "skip")


def _check_labels(test: _Part, classes: Sequence[str]) -> None:
    """InputError unless the test labels are those of classes."""
    largest = _largest_label(test.indices, test.paths[0])
    if largest >= len(classes):
        raise InputError(f"{test.paths[0]}: a test label is {largest}, expected 0..{len(classes) - 1} as in training")


def _largest_label(indices: Sequence[ShardIndex], what: str) -> int:
    """The largest label; InputError if no shard has an image."""
    largest = max((int(index.labels.max()) for index in indices if len(index)), default=-1)
    if largest < 0:
        fields = sorted({field for index in indices for field in index.ignored})
        raise InputError(f"{what}: has no labelled images, expected members like 0001.jpg and 0001.cls"
                         + (f", found only {', '.join(fields[:10])}" if fields else ""))
    return largest
