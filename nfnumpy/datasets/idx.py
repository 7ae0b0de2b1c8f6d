"""The IDX files of MNIST and data sets like it: a magic number, big-endian sizes, then unsigned bytes; gzipped or not.

Format: http://yann.lecun.com/exdb/mnist. A file may come from anywhere, so nothing is allocated for the declared
sizes before they agree with the bytes that are there.
"""

import gzip
import io
import math
import os
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..files import atomic_write
from .dataset import ArraySplit, Dataset

UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"

# Deflate spends at least two bits on a match, and a match is at most 258 bytes.
DEFLATE_RATIO = 1032

TRAIN_PREFIXES = ("train",)
TEST_PREFIXES = ("test", "t10k")


def read_idx(path: str | os.PathLike[str], rank: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes as a read-only uint8 array of `rank` axes, gzipped or not.

    Raises InputError, naming the file, when it is missing, damaged, of another type or rank, or longer or shorter
    than its header says.
    """
    try:
        with open(path, "rb") as file:
            stored = os.fstat(file.fileno()).st_size
            packed = file.read(2) == GZIP_MAGIC
            file.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=file) as stream:
                    return _read_stream(stream, path, rank, at_most=stored * DEFLATE_RATIO)
            return _read_stream(file, path, rank, at_most=stored)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot read IDX file: {error}") from error


def write_idx(path: str | os.PathLike[str], array: npt.ArrayLike) -> None:
    """Write a uint8 array of 1 to 255 axes as IDX, gzipped when `path` ends in .gz; equal arrays give equal files."""
    array = np.asarray(array)
    if array.dtype != np.uint8 or not 1 <= array.ndim <= 255:
        raise InputError(f"{path}: IDX here holds uint8 of 1 to 255 axes, not {array.dtype} of {array.ndim}")
    header = struct.pack(f">HBB{array.ndim}I", 0, UNSIGNED_BYTE, array.ndim, *array.shape)
    content = header + array.tobytes()
    path = Path(path)
    if path.suffix == ".gz":
        content = _gzipped(content)
    atomic_write(path, content)


def open_idx(directory: str | os.PathLike[str], image_size: int | None = None, name: str | None = None) -> Dataset:
    """Open a folder of IDX files under MNIST's names (train-…; t10k-… or test-…; with or without .gz) as a Dataset.

    Classes are the digits from 0 to the largest training label. Without `image_size` (pixels) it is the images'
    shorter side. Raises InputError for missing or damaged files, counts that differ, or a test label not trained on.
    """
    directory = Path(directory)
    train_images, train_labels = _read_pair(directory, TRAIN_PREFIXES)
    test_images, test_labels = _read_pair(directory, TEST_PREFIXES)
    count = int(train_labels.max()) + 1
    if test_labels.max() >= count:
        raise InputError(f"{directory}: a test label is {test_labels.max()}, expected 0..{count - 1} as in training")
    size = min(train_images.shape[1:]) if image_size is None else image_size
    return Dataset(
        name=name or f"idx:{directory}",
        classes=tuple(str(label) for label in range(count)),
        image_size=size,
        train=ArraySplit(train_images, train_labels, size),
        test=ArraySplit(test_images, test_labels, size),
    )


def _read_stream(stream: IO[bytes] | gzip.GzipFile, path: str | os.PathLike[str], rank: int,
                 at_most: int) -> np.ndarray:
    """The array in an opened IDX file that can hold `at_most` bytes; InputError, with `path`, for a damaged one."""
    head = stream.read(4)
    expected = struct.pack(">HBB", 0, UNSIGNED_BYTE, rank)
    if head != expected:
        raise InputError(f"{path}: begins with {head.hex(' ') or 'nothing'}, expected {expected.hex(' ')} "
                         f"(IDX, unsigned bytes, {rank} axes)")
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise InputError(f"{path}: ends inside its header, expected {rank} sizes of 4 bytes")
    shape = struct.unpack(f">{rank}I", sizes)
    declared = math.prod(shape)
    if declared > at_most:
        raise InputError(f"{path}: declares {_dimensions(shape)} bytes, more than the file can hold")
    content = stream.read(declared)
    if len(content) < declared:
        raise InputError(f"{path}: declares {_dimensions(shape)} bytes but holds only {len(content)}")
    # Reading on to the end also makes gzip compare its checksum.
    if stream.read(1):
        raise InputError(f"{path}: holds more than the {_dimensions(shape)} bytes it declares")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _read_pair(directory: Path, prefixes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(images (N, H, W), labels (N,)) of one split, whose file names begin with one of `prefixes`."""
    images_path = _find(directory, prefixes, "images-idx3-ubyte")
    labels_path = _find(directory, prefixes, "labels-idx1-ubyte")
    images = read_idx(images_path, rank=3)
    labels = read_idx(labels_path, rank=1)
    if len(images) != len(labels):
        raise InputError(f"{labels_path}: {len(labels)} labels for the {len(images)} images of {images_path.name}")
    if images.size == 0:
        raise InputError(f"{images_path}: holds {_dimensions(images.shape)} pixels, expected at least one image")
    return images, labels


def _find(directory: Path, prefixes: tuple[str, ...], ending: str) -> Path:
    """The first existing file PREFIX-ENDING or PREFIX-ENDING.gz; InputError if there is none."""
    names = [f"{prefix}-{ending}{packed}" for prefix in prefixes for packed in ("", ".gz")]
    for name in names:
        if (directory / name).is_file():
            return directory / name
    raise InputError(f"{directory}: found none of {', '.join(names)}, expected one of them")


def _gzipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    # No name and no time in the header: with them, equal arrays would give different files.
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=9, mtime=0) as stream:
        stream.write(content)
    return buffer.getvalue()


def _dimensions(shape: tuple[int, ...]) -> str:
    return "x".join(str(extent) for extent in shape)
