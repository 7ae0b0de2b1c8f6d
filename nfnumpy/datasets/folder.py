"""A folder of pictures, one sub-folder a class: train/CLASS/*.jpg and test/CLASS/*.jpg."""

import os
from pathlib import Path

import numpy as np

from .dataset import Dataset, Split
from .images import read_image
from ..errors import InputError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
TEST_NAMES = ("test", "val")


class FolderSplit(Split):
    """A split of image files, decoded each time one is read: `paths` (N,) strings, `labels` (N,)."""

    def __init__(self, paths, labels, image_size):
        super().__init__(labels, image_size)
        self.paths = tuple(paths)

    def read(self, index):
        return read_image(self.paths[index], self.image_size)


def open_folder(directory, image_size=None):
    """Open DIRECTORY/train/CLASS/* and DIRECTORY/test/CLASS/* (or val/) as a Dataset.

    Images are the files ending in .png, .jpg, .jpeg, .bmp or .webp in any case; hidden ones are passed over. Classes
    are the sorted names of the sub-folders of train. Without `image_size` (pixels) it is the shorter side of the
    first training image. Raises InputError when a folder is missing or empty, or a test class was not trained on.
    """
    directory = Path(directory)
    train, test = _class_folders(directory / "train"), _class_folders(_test_directory(directory))
    classes = {name: label for label, name in enumerate(sorted(train))}
    for name, path in test.items():
        if name not in classes:
            raise InputError(f"{path}: class {name!r} is not a folder of {directory / 'train'}")
    train_paths, train_labels = _labelled_files(train, classes)
    test_paths, test_labels = _labelled_files(test, classes)
    if image_size is None:
        image_size = min(read_image(train_paths[0]).shape[:2])
    return Dataset(
        name=f"folder:{directory}",
        classes=tuple(classes),
        image_size=image_size,
        train=FolderSplit(train_paths, train_labels, image_size),
        test=FolderSplit(test_paths, test_labels, image_size),
    )


def _test_directory(directory):
    for name in TEST_NAMES:
        if (directory / name).is_dir():
            return directory / name
    raise InputError(f"{directory}: has no folder {' or '.join(TEST_NAMES)}, expected DIR/test/CLASS/IMAGE")


def _class_folders(directory):
    folders = {entry.name: entry.path for entry in _visible(directory, os.DirEntry.is_dir)}
    if not folders:
        raise InputError(f"{directory}: has no sub-folders, expected one for each class")
    return folders


def _labelled_files(folders, classes):
    paths, labels = [], []
    for name in sorted(folders):
        found = sorted(entry.path for entry in _visible(folders[name], _is_image))
        if not found:
            raise InputError(f"{folders[name]}: has no images, expected files ending in {', '.join(ENDINGS)}")
        paths += found
        labels.append(np.full(len(found), classes[name], dtype=np.int64))
    return paths, np.concatenate(labels)


def _is_image(entry):
    return entry.name.lower().endswith(ENDINGS) and entry.is_file()


def _visible(directory, wanted):
    try:
        with os.scandir(directory) as entries:
            return [entry for entry in entries if not entry.name.startswith(".") and wanted(entry)]
    except (OSError, ValueError) as error:
        raise InputError(f"{directory}: expected a folder that can be read: {error}") from error
