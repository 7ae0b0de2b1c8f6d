"""Data sets of labelled images: the embedded digits, files of MNIST's format, a folder of pictures, or tar shards."""

import os

from ..errors import InputError
from .bad_images import SkippingSplit
from .dataset import ArraySplit, Dataset, Examples, Split
from .decoders import DECODERS, ENDINGS
from .digits import open_digits
from .folder import FolderSplit, open_folder
from .idx import open_idx, read_idx, write_idx
from .imagenet import imagenet_classes, imagenet_numbers
from .images import PIXEL_LIMIT, checked_image_size, checked_max_pixels, read_image, resize_image
from .listing import image_files
from .loader import LOADERS, Loader
from .preprocessing import to_input
from .reading import BAD_IMAGES, EVAL_RESIZES, MARGINS, EvalTransform, ImageReader, ReadingOptions
from .shards import ShardSplit, open_shards

__all__ = [
    "BAD_IMAGES",
    "DECODERS",
    "ENDINGS",
    "EVAL_RESIZES",
    "FORMS",
    "LOADERS",
    "MARGINS",
    "PIXEL_LIMIT",
    "ArraySplit",
    "Dataset",
    "EvalTransform",
    "Examples",
    "FolderSplit",
    "ImageReader",
    "Loader",
    "ReadingOptions",
    "ShardSplit",
    "SkippingSplit",
    "Split",
    "checked_image_size",
    "checked_max_pixels",
    "image_files",
    "imagenet_classes",
    "imagenet_numbers",
    "open_dataset",
    "read_idx",
    "read_image",
    "resize_image",
    "to_input",
    "write_idx",
]

FORMS = "digits, idx:DIR, folder:DIR or shards:DIR-OR-PATTERN"


def open_dataset(spec: str, image_size: int | None = None, reading: ReadingOptions | None = None) -> Dataset:
    """Open the data set that `spec` names, one of the forms in FORMS.

    "digits", "idx:DIR" (MNIST's files), "folder:DIR" (train/CLASS/IMAGE) or "shards:DIR-OR-PATTERN" (tar files in
    WebDataset's format).
    Every image comes as uint8 (image_size, image_size, 3); without `image_size` (pixels) the data decides.
    reading: how encoded images are read; None for the defaults.
    Raises InputError for an unknown spec and for data that cannot be used.
    """
    if image_size is not None:
        image_size = checked_image_size(image_size)
    kind, _, directory = str(spec).partition(":")
    if reading is not None:
        _check_kind(kind, reading)
    if spec == "digits":
        return open_digits(image_size)
    if kind not in ("idx", "folder", "shards") or not directory:
        hint = f"; did you mean folder:{spec}?" if os.path.isdir(str(spec)) else ""
        raise InputError(f"data set {str(spec)!r} is not known, expected {FORMS}{hint}")
    # A shell does not expand the ~ of folder:~/pictures.
    directory = os.path.expanduser(directory)
    if kind == "idx":
        return open_idx(directory, image_size)
    if kind == "shards":
        return open_shards(directory, image_size, reading)
    return open_folder(directory, image_size, reading)


def _check_kind(kind: str, reading: ReadingOptions) -> None:
    """InputError for options of folders and shards with data of another kind."""
    for flag, value in (("--test-share", reading.test_share), ("--test-size", reading.test_size),
                        ("--eval-resize", reading.eval_resize), ("--eval-margin", reading.eval_margin)):
        if value is not None and kind not in ("folder", "shards"):
            raise InputError(f"{flag} {value}: it is for data of the kind folder or shards, not for {kind}")
