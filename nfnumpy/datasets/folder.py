"""A folder of pictures, one sub-folder a class: train/CLASS/….jpg and test/CLASS/….jpg, or CLASS/….jpg alone."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .dataset import Dataset, Split
from .decoders import ENDINGS
from .file_tree import FileList, FileTree, Folder
from .folder_layout import layout_of
from .held_out import drawn_for_test
from .images import image_dimensions
from .index_file import indexed_images
from .reading import EvalTransform, ImageReader, ReadingOptions
from .survey import surveyed_size

MOST_ENDINGS = 5  # that the line about other files names


MOST_MEASURED = 200_000  # files whose sizes are read in less than a second


class FolderSplit(Split):
    """A split of image files, decoded each time one is read: `paths` (N,), `labels` (N,).

    reader: what decodes a file; `image_size` pixels mean the plain one.
    """

    def __init__(self, paths: Sequence[str], labels: npt.ArrayLike, reader: ImageReader | int) -> None:
        self.reader = ImageReader(reader) if isinstance(reader, int) else reader
        super().__init__(labels, self.reader.size)
        self.paths = paths

    @property
    def transform(self) -> EvalTransform:
        """How the reader resizes and cuts an image."""
        return self.reader.transform

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
        """(path within the folder of the split, label, size in bytes) of every image.

        Sizes are read anew, those of more than MOST_MEASURED listed files are as they were listed: an index file does
        not notice that a file was overwritten in place.
        """
        if isinstance(self.paths, FileList):
            files = self.paths.names_and_sizes()
            if len(self) <= MOST_MEASURED:
                root = self.paths.tree.root
                files = ((name, os.path.getsize(os.path.join(root, name))) for name, _ in files)
        else:
            files = ((path, os.path.getsize(path)) for path in self.paths)
        for (name, size), label in zip(files, self.labels, strict=True):
            yield name, int(label), size


def open_folder(directory: str | os.PathLike[str], image_size: int | None = None,
                reading: ReadingOptions | None = None) -> Dataset:
    """Open DIRECTORY/train/CLASS/… and DIRECTORY/test/CLASS/… (or val, valid, validation) as a Dataset.

    Images are the files with one of ENDINGS in any case, at any depth below the folder of their class, as torchvision's
    ImageFolder has it; hidden files and folders are left out. Classes are the sorted names of the sub-folders of train.
    Without train, where that is not needed, those of test, and the training split is empty.
    With `reading.test_share` the test images are drawn from those of train, or of DIRECTORY/CLASS/… itself. Without
    `image_size` (pixels) it is the size that `reading` prefers, or one that the images' own sizes suggest.
    Raises InputError when a folder is missing or empty, or a test class was not trained on.
    """
    reading = reading or ReadingOptions()
    layout = layout_of(directory, reading.test_share, reading.needs_training)
    tree = indexed_images(layout.train)
    classes = _classes_of(tree)
    labels = _labels(tree, classes, layout.train)
    remarks = [*layout.remarks, *_about_others(tree, labels)]
    if layout.test is None:
        test_tree, test_labels = tree, labels
        is_test = drawn_for_test(tree.root, tree.encoded_names(), labels, classes, reading.test_share or 0.0)
        is_training = (labels >= 0) & ~is_test
    else:
        test_tree = indexed_images(layout.test)
        test_labels = _labels(test_tree, classes, layout.train)
        is_training, is_test = (labels >= 0) & (layout.train != layout.test), test_labels >= 0
        if layout.train != layout.test:
            remarks += _about_others(test_tree, test_labels)
    train_files, test_files = FileList(tree, is_training), FileList(test_tree, is_test)
    size = image_size or reading.preferred_size
    if size is None:
        files = train_files or test_files
        size, remark = surveyed_size(
            len(files), lambda index: image_dimensions(files[index], reading.max_pixels),
            skip_bad=reading.on_bad_image == "skip")
        remarks.append(remark)
    return Dataset(
        name=f"folder:{os.fspath(directory)}",
        classes=classes,
        image_size=size,
        train=FolderSplit(train_files, labels[is_training], reading.training_reader(size)),
        test=FolderSplit(test_files, test_labels[is_test], reading.test_reader(size)),
        remarks=tuple(remarks),
    )


def _classes_of(tree: FileTree) -> tuple[str, ...]:
    """The names of the sub-folders of the root, sorted; InputError if there is none."""
    if not tree.folders[0].folders:
        raise InputError(f"{tree.root}: has no sub-folders, expected one for each class")
    return tree.folders[0].folders


def _labels(tree: FileTree, classes: tuple[str, ...], train: str) -> np.ndarray:
    """The labels int64 (N,) of a tree's files, -1 of those beside the classes.

    InputError for a class without images, or that is none of `classes`, which are those of the folder `train`.
    """
    numbers = {name: label for label, name in enumerate(classes)}
    for name in _classes_of(tree):
        if name not in numbers:
            raise InputError(f"{os.path.join(tree.root, name)}: class {name!r} is not a folder of {train}")
    of_folders = [numbers[folder.path.partition("/")[0]] if folder.path else -1 for folder in tree.folders]
    labels = np.repeat(np.array(of_folders, dtype=np.int64), np.diff(tree.starts))
    counts = np.bincount(labels[labels >= 0], minlength=len(classes))
    for name in _classes_of(tree):
        if not counts[numbers[name]]:
            raise InputError(f"{os.path.join(tree.root, name)}: has no images{_but(tree, name)}, expected files "
                             f"ending in {', '.join(ENDINGS)}")
    return labels


def _but(tree: FileTree, name: str) -> str:
    """", but ..." with the files of other kinds in the folder of a class; "" if there are none."""
    folders = [folder for folder in tree.folders if folder.path.partition("/")[0] == name]
    parts = _endings(_others(folders))
    return f", but {', '.join(parts)}" if parts else ""


def _others(folders: Sequence[Folder]) -> Counter[str]:
    """How many files of each ending are not read in these folders."""
    return sum((Counter(folder.others) for folder in folders), Counter())


def _endings(others: Counter[str]) -> list[str]:
    """The most frequent endings, such as "3 .heic"."""
    return [f"{count} {ending or 'without an ending'}" for ending, count in others.most_common(MOST_ENDINGS)]


def _about_others(tree: FileTree, labels: np.ndarray) -> list[str]:
    """A line about the files that are not read, if there are any."""
    others = _others(tree.folders)
    parts = _endings(others)
    rest = others.total() - sum(count for _, count in others.most_common(MOST_ENDINGS))
    if rest:
        parts.append(f"{rest} of other endings")
    beside = int(np.count_nonzero(labels < 0))
    if beside:
        parts.append(f"pictures beside the folders of the classes: {beside}")
    return [f"{tree.root}: files that are not read: {', '.join(parts)}"] if parts else []
