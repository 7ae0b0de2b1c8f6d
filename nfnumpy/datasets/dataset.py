"""What every data set is: named classes and two splits of labelled square images."""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..functional.checks import shown
from .images import encode_png, resize_image
from .reading import EvalTransform


class Examples(ABC):
    """What a loader reads: numbered square images, and what a network's outputs for them are compared with.

    `image_size` is the side of every image in pixels, and `needs_decoding` says whether making one takes enough work to
    be worth a thread.
    """

    image_size: int
    needs_decoding = True

    @property
    def bad_images(self) -> dict[int, str]:
        """Index -> error of the images that could not be read so far and that others took the place of."""
        return {}

    @abstractmethod
    def __len__(self) -> int:
        """How many there are; they are numbered from 0."""

    @abstractmethod
    def take(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """The images with these `numbers` (n,), in that order, as uint8 (n, image_size, image_size, 3)."""

    @abstractmethod
    def targets(self, numbers: np.ndarray) -> tuple[np.ndarray, ...]:
        """The labels int64 (n,) of the images with these `numbers` (n,); of mixed images also shares (n, classes)."""


class Split(Examples):
    """Labelled images read by index: `labels` is int64 (N,)."""

    def __init__(self, labels: npt.ArrayLike, image_size: int) -> None:
        self.labels = _whole_labels(labels)
        self.image_size = image_size

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def transform(self) -> EvalTransform:
        """How `read` resizes and cuts an image."""
        return EvalTransform(self.image_size)

    @abstractmethod
    def read(self, index: int) -> np.ndarray:
        """One image, uint8 (image_size, image_size, 3)."""

    def read_whole(self, index: int) -> np.ndarray:
        """One image before it is cut and resized, uint8 (H, W, 3); the same as `read` where there is no other."""
        return self.read(index)

    def name(self, index: int) -> str:
        """What a message calls an image: its path, its place in a shard, or "image 17" of an array."""
        return f"image {index}"

    def encoded(self, index: int) -> tuple[bytes, str]:
        """(content, ending such as ".jpg") of the file of an image; of one in memory, a PNG with the same pixels."""
        return encode_png(self.read_whole(index)), ".png"

    def inventory(self) -> Iterator[tuple[str, int, int]]:
        """(name within the split, label, mark) of every image, in order, by which changed data is noticed.

        mark: the CRC-32 of the pixels of an array, the size in bytes of a file.
        """
        for index, label in enumerate(self.labels):
            yield self.name(index), int(label), zlib.crc32(self.read_whole(index).tobytes())

    def take(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """As Examples.take."""
        images = np.empty((len(indices), self.image_size, self.image_size, 3), dtype=np.uint8)
        for position, index in enumerate(indices):
            images[position] = self.read(index)
        return images

    def targets(self, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        """The labels int64 (n,) at `indices` (n,)."""
        return (self.labels[indices],)


class ArraySplit(Split):
    """A split in memory: images uint8 (N, H, W) or (N, H, W, 3), labels (N,).

    On reading, grey is replicated to three channels, and images of another size than `image_size` square are resized.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, image_size: int | None = None) -> None:
        shape: tuple[int, ...] = getattr(images, "shape", ())
        is_grey_or_colour = len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)
        if not is_grey_or_colour or images.dtype != np.uint8:
            raise InputError(f"ArraySplit: expected images as uint8 (N, H, W) or (N, H, W, 3), got "
                             f"{shown(images)}")
        if image_size is None:
            image_size = min(images.shape[1:3])
        super().__init__(labels, image_size)
        if len(images) != len(labels):
            raise InputError(f"ArraySplit was given {len(images)} images but {len(labels)} labels, expected one each")
        self.images = images
        self.needs_decoding = images.shape[1:3] != (self.image_size, self.image_size)

    def read(self, index: int) -> np.ndarray:
        """One image, uint8 (image_size, image_size, 3); a copy."""
        image = self.images[index]
        if self.needs_decoding:
            image = resize_image(image, self.image_size)
        return _three_channels(image, rank=2)

    def read_whole(self, index: int) -> np.ndarray:
        """One image of the size that it has, uint8 (H, W, 3); a copy."""
        return _three_channels(self.images[index], rank=2)

    def encoded(self, index: int) -> tuple[bytes, str]:
        """(a PNG with the pixels of one image, ".png"); grey stays grey."""
        return encode_png(self.images[index]), ".png"

    def take(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """As Examples.take."""
        if self.needs_decoding:
            return super().take(indices)
        return _three_channels(self.images[indices], rank=3)


@dataclass(frozen=True)
class Dataset:
    """A training and a test split over the same classes; `image_size` is the side of a training image in pixels.

    remarks: lines about what was found and chosen, for a log.
    """

    name: str
    classes: tuple[str, ...]
    image_size: int
    train: Split
    test: Split
    remarks: tuple[str, ...] = ()


def _three_channels(images: np.ndarray, rank: int) -> np.ndarray:
    """A copy of `images` with a last axis of 3 channels; grey images have `rank` axes."""
    return np.repeat(images[..., None], 3, axis=-1) if images.ndim == rank else images.copy()


def _whole_labels(labels: npt.ArrayLike) -> np.ndarray:
    """The labels as int64 (N,); InputError unless they are a list of whole numbers."""
    try:
        given = np.asarray(labels)
        with np.errstate(invalid="ignore"):
            whole = given.astype(np.int64)
        is_whole = given.ndim == 1 and given.dtype.kind in "iuf" and bool(np.all(whole == given))
    except (ValueError, TypeError, OverflowError):
        is_whole = False
    if not is_whole:
        raise InputError(f"labels: expected whole numbers (N,), got {shown(labels)}")
    return whole
