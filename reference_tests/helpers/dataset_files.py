"""Pictures and files, sound and spoiled, for the tests of the data sets."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from nfnumpy.datasets import open_dataset, write_idx

WHITE, BLACK = [255, 255, 255], [0, 0, 0]


def one_line(caught, *parts):
    """The caught InputError is one line that holds every one of `parts`."""
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message, message


def saved(directory, image, name="image.png", **options):
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def plain(colour, size=(8, 8)):
    return Image.new("RGB", size, colour)


def encoded(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(width, height, samples, depth=8, colour_type=2, extra=b""):
    """A PNG by hand: any header and any bytes of samples, so that it may be deeper than Pillow writes, or lie."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(samples)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_declaring(width, height):
    """A PNG of a hundred bytes that claims any size."""
    return png(width, height, bytes(1000))


def written(path, content):
    path.write_bytes(content)
    return path


def write_folder(directory, test="test", count=3, size=(8, 8)):
    """Cats are red, dogs are blue, and the green channel counts the images of a class."""
    for part in ("train", test):
        for name, colour in (("cat", (255, 0)), ("dog", (0, 255))):
            for index in range(count):
                image = plain((colour[0], index, colour[1]), size)
                saved(directory / part / name, image, f"{index:04d}.png")
    return directory


def write_mnist(directory, test_prefix="t10k", ending=".gz", **changed):
    """Six training and three test images of 5x5 under MNIST's names; `changed` replaces any of the four arrays."""
    directory.mkdir(parents=True, exist_ok=True)
    arrays = {
        "train_images": np.arange(150, dtype=np.uint8).reshape(6, 5, 5),
        "train_labels": np.array([0, 1, 2, 2, 1, 0], dtype=np.uint8),
        "test_images": np.arange(75, dtype=np.uint8).reshape(3, 5, 5),
        "test_labels": np.array([2, 0, 1], dtype=np.uint8),
    } | changed
    for part, prefix in (("train", "train"), ("test", test_prefix)):
        write_idx(directory / f"{prefix}-images-idx3-ubyte{ending}", arrays[f"{part}_images"])
        write_idx(directory / f"{prefix}-labels-idx1-ubyte{ending}", arrays[f"{part}_labels"])
    return directory


def write_few_digits(directory, training=24, test=8):
    """IDX files under MNIST's names with the first of the embedded digits."""
    directory.mkdir()
    digits = open_dataset("digits")
    for split, name, count in ((digits.train, "train", training), (digits.test, "t10k", test)):
        write_idx(directory / f"{name}-images-idx3-ubyte", split.images[:count])
        write_idx(directory / f"{name}-labels-idx1-ubyte", split.labels[:count].astype(np.uint8))
    return directory
