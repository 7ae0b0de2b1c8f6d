"""Writing a data set as a folder of pictures, train/CLASS/NUMBER.png, which every tool for images can look at.

Used by: data.py. Test: reference_tests/datasets/test_folder_writer.py.
"""

import os
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from .dataset import Dataset, Split
from .staging import move_into_place, staging_folder

SPLITS = ("train", "test")


def write_folder(dataset: Dataset, out: str | os.PathLike[str],
                 progress: Callable[[], object] = lambda: None) -> dict[str, int]:
    """Write OUT/train/CLASS/NUMBER.ENDING and OUT/test/…; returns the number of images by split.

    NUMBER is the image's place in its split. Files are copied as they are, images of arrays become PNG files with the
    same pixels. Both folders get their names after the last image: a writer that is killed before leaves
    neither, and one that is killed between the two renames leaves OUT/test alone.
    InputError for a folder OUT that has one of them, that cannot be written to, for a class whose name cannot be a
    folder's, and for an image that cannot be read. progress: called after each image.
    """
    target = Path(out)
    for name in dataset.classes:
        _check_folder_name(name)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for split in SPLITS:
            if (target / split).exists():
                raise InputError(f"{target / split}: is there already; choose another folder, or move it away")
        with staging_folder(target) as staging:
            for split in SPLITS:
                _write_split(getattr(dataset, split), dataset.classes, staging / split, progress)
            move_into_place(staging, target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from error
    return {split: len(getattr(dataset, split)) for split in SPLITS}


def _check_folder_name(name: str) -> None:
    """InputError for a class whose pictures a folder of its name would not show, or not inside of the data set."""
    if not name or name.startswith(".") or any(sign in name for sign in "/\\\0"):
        raise InputError(f"class {name!r}: expected a name that a folder can have, without / and \\ and not hidden")


def _write_split(split: Split, classes: tuple[str, ...], folder: Path, progress: Callable[[], object]) -> None:
    """Write the images of one split below `folder`, which is new."""
    for name in classes:
        (folder / name).mkdir(parents=True)
    for index, label in enumerate(split.labels):
        content, ending = split.encoded(index)
        (folder / classes[int(label)] / f"{index:08d}{ending}").write_bytes(content)
        progress()
    for name in classes:
        if not any((folder / name).iterdir()):
            (folder / name).rmdir()  # a class that is not in this split
