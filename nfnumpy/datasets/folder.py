"""A folder of pictures, one sub-folder a class: train/CLASS/….jpg and test/CLASS/….jpg."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .dataset import Dataset, Split
from .images import read_image
from .reading import ImageReader, ReadingOptions

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
TEST_NAMES = ("test", "val")


class FolderSplit(Split):
    """A split of image files, decoded each time one is read: `paths` (N,) strings, `labels` (N,).

    reader: what decodes a file; `image_size` pixels mean the plain one. root: the folder that names in the inventory
    are relative to.
    """

    def __init__(self, paths: Iterable[str], labels: npt.ArrayLike, reader: ImageReader | int,
                 root: str | os.PathLike[str] = ".") -> None:
        self.reader = ImageReader(reader) if isinstance(reader, int) else reader
        super().__init__(labels, self.reader.size)
        self.paths = tuple(paths)
        self.root = os.fspath(root)

    def read(self, index: int) -> np.ndarray:
        """One image, decoded from its file: uint8 (image_size, image_size, 3)."""
        return self.reader.square(self.paths[index])

    def read_whole(self, index: int) -> np.ndarray:
        """One image of the size that it has in its file, uint8 (H, W, 3)."""
        return self.reader.whole(self.paths[index])

    def name(self, index: int) -> str:
        """The path of an image."""
        return self.paths[index]

    def encoded(self, index: int) -> tuple[bytes, str]:
        """(content, ending) of the file of an image; InputError if it cannot be read."""
        path = self.name(index)
        try:
            return Path(path).read_bytes(), os.path.splitext(path)[1]
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error

    def inventory(self) -> Iterator[tuple[str, int, int]]:
        """(path within the folder of the split, label, size in bytes) of every image."""
        for path, label in zip(self.paths, self.labels, strict=True):
            yield os.path.relpath(path, self.root), int(label), os.path.getsize(path)


def open_folder(directory: str | os.PathLike[str], image_size: int | None = None,
                reading: ReadingOptions | None = None) -> Dataset:
    """Open DIRECTORY/train/CLASS/… and DIRECTORY/test/CLASS/… (or val/) as a Dataset.

    Images are the files ending in .png, .jpg, .jpeg, .bmp or .webp in any case, at any depth below the folder of their
    class, as torchvision's ImageFolder has it; hidden files and folders are left out. Classes are the sorted names of
    the sub-folders of train. Without `image_size` (pixels) it is the shorter side of the first training image.
    Raises InputError when a folder is missing or empty, or a test class was not trained on.
    """
    reading = reading or ReadingOptions()
    directory = Path(directory)
    test_directory = _test_directory(directory)
    train = _class_folders(directory / "train")
    test = _class_folders(test_directory)
    classes = {name: label for label, name in enumerate(sorted(train))}
    for name, path in test.items():
        if name not in classes:
            raise InputError(f"{path}: class {name!r} is not a folder of {directory / 'train'}")
    train_paths, train_labels = _labelled_files(train, classes)
    test_paths, test_labels = _labelled_files(test, classes)
    if image_size is None:
        image_size = min(read_image(train_paths[0], max_pixels=reading.max_pixels).shape[:2])
    return Dataset(
        name=f"folder:{directory}",
        classes=tuple(classes),
        image_size=image_size,
        train=FolderSplit(train_paths, train_labels, reading.training_reader(image_size), directory / "train"),
        test=FolderSplit(test_paths, test_labels, reading.test_reader(image_size), test_directory),
    )


def _test_directory(directory: Path) -> Path:
    """The first folder of TEST_NAMES that is in `directory`; InputError if there is none."""
    for name in TEST_NAMES:
        if (directory / name).is_dir():
            return directory / name
    raise InputError(f"{directory}: has no folder {' or '.join(TEST_NAMES)}, expected DIR/test/CLASS/IMAGE")


def _class_folders(directory: Path) -> dict[str, str]:
    """Class -> path of its folder; InputError if there is none."""
    folders = {entry.name: entry.path for entry in _visible(directory, os.DirEntry.is_dir)}
    if not folders:
        raise InputError(f"{directory}: has no sub-folders, expected one for each class")
    return folders


def _labelled_files(folders: dict[str, str], classes: dict[str, int]) -> tuple[list[str], np.ndarray]:
    """(paths, labels int64) of the images in `folders` (class -> path); InputError for a folder without images."""
    paths: list[str] = []
    labels: list[np.ndarray] = []
    for name in sorted(folders):
        found = _image_files(folders[name])
        if not found:
            raise InputError(f"{folders[name]}: has no images, expected files ending in {', '.join(ENDINGS)}")
        paths += found
        labels.append(np.full(len(found), classes[name], dtype=np.int64))
    return paths, np.concatenate(labels)


def _image_files(directory: str, above: tuple[str, ...] = ()) -> list[str]:
    """The image files at any depth below `directory`, folder by folder, those of a folder before its sub-folders'.

    above: the real paths of the folders that contain `directory`; a link to one of them would be a cycle.
    """
    real = os.path.realpath(directory)
    if real in above:
        raise InputError(f"{directory}: expected a folder, but it is a link to {real}, which contains it")
    paths = sorted(entry.path for entry in _visible(directory, _is_image))
    for folder in sorted(entry.path for entry in _visible(directory, os.DirEntry.is_dir)):
        paths += _image_files(folder, (*above, real))
    return paths


def _is_image(entry: os.DirEntry) -> bool:
    return entry.name.lower().endswith(ENDINGS) and entry.is_file()


def _visible(directory: str | os.PathLike[str], wanted: Callable[[os.DirEntry], bool]) -> list[os.DirEntry]:
    """The entries of `directory` that are not hidden and for which `wanted` is true."""
    try:
        with os.scandir(directory) as entries:
            return [entry for entry in entries if not entry.name.startswith(".") and wanted(entry)]
    except (OSError, ValueError) as error:
        raise InputError(f"{directory}: expected a folder that can be read: {error}") from error
