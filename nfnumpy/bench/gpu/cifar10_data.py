"""CIFAR-10 in memory: from a folder or .zip of pictures, or from an .npz of arrays. All of it is untrusted input."""

import os
import tempfile
import zipfile
import zlib

import numpy

from ... import datasets
from ...errors import InputError

PIXELS = 32
LARGEST = 1 << 31  # bytes of an unpacked .zip or of an .npz's arrays
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
WORKERS = 8  # threads that decode


def load(path: str) -> datasets.Dataset:
    """The data set at `path`, in memory; InputError where it is none."""
    if path.endswith(".npz"):
        return _from_arrays(path)
    if os.path.isdir(path):
        return _from_folder(path)
    with tempfile.TemporaryDirectory() as folder:
        _unpack(path, folder)
        return _from_folder(folder)


def _from_arrays(path: str) -> datasets.Dataset:
    """From an .npz of ARRAYS: images uint8 (N, H, W, 3), labels of whole numbers."""
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_large(archive)
        with numpy.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in ARRAYS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"--cifar {path}: expected the arrays {', '.join(ARRAYS)}, but: {_line(error)}") from None
    train = _split(arrays["train_images"], arrays["train_labels"])
    test = _split(arrays["test_images"], arrays["test_labels"])
    labels = numpy.concatenate([train.labels, test.labels])
    if not len(train) or not len(test) or labels.min() < 0 or labels.max() >= 10:
        raise InputError(f"--cifar {path}: expected images in both splits, and labels 0..9")
    return datasets.Dataset(os.path.basename(path), tuple(map(str, range(10))), PIXELS, train, test)


def _from_folder(folder: str) -> datasets.Dataset:
    """From train/CLASS/IMAGE and test/CLASS/IMAGE, decoded by threads."""
    found = datasets.open_dataset(f"folder:{folder}", PIXELS)
    train, test = _decoded(found.train), _decoded(found.test)
    return datasets.Dataset("pictures", found.classes, PIXELS, train, test)


def _decoded(split: datasets.Split) -> datasets.ArraySplit:
    with datasets.Loader(split, 1000, workers=WORKERS) as loader:
        images = [images for images, _ in loader.batches(range(len(split)))]
    return datasets.ArraySplit(numpy.concatenate(images), split.labels)


def _split(images, labels):
    """A split whose images have PIXELS."""
    split = datasets.ArraySplit(images, labels, PIXELS)
    return datasets.ArraySplit(split.take(range(len(split))), split.labels) if split.needs_decoding else split


def _unpack(path: str, folder: str) -> None:
    """Unpack the .zip at `path`; ZipFile keeps every file inside of `folder`."""
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_large(archive)
            archive.extractall(folder)
    except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"--cifar {path}: expected a folder, a .zip or an .npz, but: {_line(error)}") from None


def _refuse_large(archive: zipfile.ZipFile) -> None:
    size = sum(member.file_size for member in archive.infolist())
    if size > LARGEST:
        raise ValueError(f"it unpacks to {size} bytes, at most {LARGEST} are read")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
