"""Data sets: any honest file reads to the right pixels, any other is one InputError, and order is kept."""

import gzip
import io
import re
import struct
import threading
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from nfnumpy.datasets import (
    ArraySplit,
    FolderSplit,
    Loader,
    Split,
    digits,
    loader,
    open_dataset,
    read_idx,
    read_image,
    write_idx,
)
from nfnumpy.errors import InputError

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


# ---------------------------------------------------------------------------------------------------- the digits


def test_embedded_digits_are_the_1797_of_uci():
    dataset = open_dataset("digits")
    assert (len(dataset.train), len(dataset.test)) == (1438, 359)
    assert dataset.name == "digits"
    assert dataset.classes == tuple("0123456789")
    assert dataset.image_size == 8
    labels = np.concatenate([dataset.train.labels, dataset.test.labels])
    # Counts and ink as scikit-learn's copy has them.
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    images = np.concatenate([dataset.train.images, dataset.test.images])
    assert np.unique(images).tolist() == np.rint(np.arange(17) * 255 / 16).astype(int).tolist()
    assert np.rint(images * (16 / 255)).sum() == 561718


def test_embedded_digits_share_no_image_between_train_and_test_and_split_every_class_alike():
    dataset = open_dataset("digits")
    train, test = ({image.tobytes() for image in split.images} for split in (dataset.train, dataset.test))
    assert not train & test
    shares = np.bincount(dataset.test.labels) / (np.bincount(dataset.train.labels) + np.bincount(dataset.test.labels))
    assert np.all(abs(shares - 0.2) < 0.005)


def test_digits_read_as_grey_replicated_to_three_channels():
    split = open_dataset("digits").train
    image = split.read(5)
    assert image.shape == (8, 8, 3) and image.dtype == np.uint8
    assert split.labels.dtype == np.int64
    for channel in range(3):
        assert np.array_equal(image[..., channel], split.images[5])


def test_digits_resize_on_request():
    split = open_dataset("digits", image_size=32).test
    taken = split.take(np.array([3, 1]))
    assert taken.shape == (2, 32, 32, 3)
    assert np.array_equal(taken[1], split.read(1))


def test_installation_without_digits_says_where_it_looked(monkeypatch, tmp_path):
    monkeypatch.setattr(digits, "files", lambda package: tmp_path)
    monkeypatch.setattr(digits, "__file__", str(tmp_path / "a" / "b" / "digits.py"))
    with pytest.raises(InputError) as caught:
        open_dataset("digits")
    one_line(caught, tmp_path, "install")


def test_digits_of_a_wheel_are_read_from_inside_the_package(monkeypatch, tmp_path):
    write_mnist(tmp_path / "data" / "digits")
    monkeypatch.setattr(digits, "files", lambda package: tmp_path)
    assert len(open_dataset("digits").train) == 6


# ---------------------------------------------------------------------------------------------------- specs


@pytest.mark.parametrize("spec", ["", "mnist", "idx", "idx:", "folder:", "Digits", "ftp:somewhere", None, 3])
def test_unknown_spec_names_the_three_forms(spec):
    with pytest.raises(InputError) as caught:
        open_dataset(spec)
    one_line(caught, "digits", "idx:DIR", "folder:DIR")


@pytest.mark.parametrize("size", [0, -1, 2.5, "32", True, 10**9])
def test_impossible_image_size_is_refused(size):
    with pytest.raises(InputError, match="image_size"):
        open_dataset("digits", image_size=size)


@pytest.mark.parametrize("spec", ["idx:/no/such/place", "folder:/no/such/place", "folder:~nobody-here/x", "idx:a\0b"])
def test_missing_directory_is_named(spec):
    with pytest.raises(InputError) as caught:
        open_dataset(spec)
    one_line(caught, spec.split(":")[1])


# ---------------------------------------------------------------------------------------------------- IDX


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


def written(path, content):
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A directory that Hypothesis may write in again and again."""
    return tmp_path_factory.mktemp("scratch")


@settings(deadline=None)
@given(
    array=hnp.arrays(np.uint8, hnp.array_shapes(max_dims=4, min_side=0, max_side=6)),
    ending=st.sampled_from(["", ".gz"]),
)
def test_idx_reads_back_what_was_written(scratch, array, ending):
    path = scratch / f"round-trip{ending}"
    write_idx(path, array)
    read = read_idx(path, rank=array.ndim)
    assert read.dtype == np.uint8 and np.array_equal(read, array)


def test_equal_arrays_give_equal_gzip_files(tmp_path):
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    write_idx(tmp_path / "one.gz", array)
    write_idx(tmp_path / "two.gz", array)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


def test_writing_idx_leaves_nothing_unfinished_behind(tmp_path):
    write_idx(tmp_path / "labels", np.zeros(3, dtype=np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["labels"]


@pytest.mark.parametrize("array", [np.zeros(3), np.array(3, dtype=np.uint8), np.zeros(3, dtype=np.int8)])
def test_only_arrays_of_unsigned_bytes_are_written_as_idx(tmp_path, array):
    with pytest.raises(InputError, match="uint8"):
        write_idx(tmp_path / "array", array)


@pytest.mark.parametrize("test_prefix", ["t10k", "test"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnist_names_are_understood(tmp_path, test_prefix, ending):
    dataset = open_dataset(f"idx:{write_mnist(tmp_path, test_prefix, ending)}")
    assert (len(dataset.train), len(dataset.test), dataset.image_size) == (6, 3, 5)
    assert dataset.classes == ("0", "1", "2")
    assert dataset.test.labels.tolist() == [2, 0, 1]
    assert dataset.test.read(1)[0, :, 0].tolist() == [25, 26, 27, 28, 29]


def test_oblong_idx_images_become_their_centre_square(tmp_path):
    oblong = np.zeros((6, 4, 8), dtype=np.uint8)
    oblong[:, :, 2:6] = 200
    dataset = open_dataset(f"idx:{write_mnist(tmp_path, train_images=oblong)}")
    assert dataset.image_size == 4
    assert np.all(dataset.train.read(0) == 200)
    assert dataset.test.read(0).shape == (4, 4, 3)


def test_idx_count_mismatch_names_both_counts(tmp_path):
    write_mnist(tmp_path, train_labels=np.zeros(5, dtype=np.uint8))
    with pytest.raises(InputError) as caught:
        open_dataset(f"idx:{tmp_path}")
    one_line(caught, "5 labels", "6 images", "train-labels")


def test_idx_test_label_that_training_lacks_is_refused(tmp_path):
    write_mnist(tmp_path, test_labels=np.array([0, 1, 9], dtype=np.uint8))
    with pytest.raises(InputError) as caught:
        open_dataset(f"idx:{tmp_path}")
    one_line(caught, "9", "0..2")


@pytest.mark.parametrize("shape", [(0, 5, 5), (3, 0, 5), (3, 5, 0)])
def test_idx_without_a_pixel_is_refused(tmp_path, shape):
    write_mnist(tmp_path, test_images=np.zeros(shape, np.uint8), test_labels=np.zeros(shape[0], np.uint8))
    with pytest.raises(InputError, match="at least one image"):
        open_dataset(f"idx:{tmp_path}")


def test_missing_idx_file_lists_the_names_looked_for(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError) as caught:
        open_dataset(f"idx:{tmp_path}")
    one_line(caught, tmp_path, "t10k-labels-idx1-ubyte.gz", "test-labels-idx1-ubyte")


# Without mtime=0 the time would be in it, and every worker of pytest-xdist would know the test by another name.
PACKED_LABELS = gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x02ab", mtime=0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "nothing"),
        (b"\x00\x00\x0d\x01" + bytes(8), "unsigned bytes"),
        (b"\x00\x00\x08\x03" + bytes(12), "1 axes"),
        (b"\x00\x00\x08\x01\x00\x00", "inside its header"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x50abc", "more than the file can hold"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x09abcdefg", "holds only 7"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x02abc", "holds more than the 2 bytes"),
        (b"\x1f\x8b", "cannot read"),
        (PACKED_LABELS[:-3], "cannot read"),
        (PACKED_LABELS[:-8] + bytes(8), "cannot read"),
    ],
)
def test_damaged_idx_says_what_is_wrong(tmp_path, content, said):
    path = written(tmp_path / "labels", content)
    with pytest.raises(InputError) as caught:
        read_idx(path, rank=1)
    one_line(caught, path, said)


def test_directory_in_place_of_an_idx_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read_idx(tmp_path, rank=1)


def test_gzip_bomb_is_not_unpacked_past_its_declared_size(tmp_path):
    bomb = struct.pack(">HBBI", 0, 8, 1, 10) + bytes(200_000_000)
    path = written(tmp_path / "bomb.gz", gzip.compress(bomb, compresslevel=1))
    del bomb
    message, peak = refusal(path, rank=1)
    assert "more than the 10 bytes" in message
    assert peak < 2_000_000


@pytest.mark.parametrize("packed", [False, True])
def test_declared_terabytes_are_not_allocated(tmp_path, packed):
    content = struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(100)
    path = written(tmp_path / "images", gzip.compress(content) if packed else content)
    message, peak = refusal(path, rank=3)
    assert "more than the file can hold" in message
    assert peak < 2_000_000


def refusal(path, rank):
    """The message with which read_idx refuses a file, and the most bytes it held meanwhile."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            read_idx(path, rank)
        return str(caught.value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


IDX = struct.pack(">HBB3I", 0, 8, 3, 4, 3, 5) + bytes(range(60))


@settings(max_examples=400, deadline=None)
@given(
    packed=st.booleans(),
    flips=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 255)), max_size=4),
    kept=st.integers(0, 200),
    tail=st.binary(max_size=4),
)
def test_mutated_idx_reads_or_is_an_input_error(scratch, packed, flips, kept, tail):
    content = bytearray(gzip.compress(IDX, mtime=0) if packed else IDX)
    for place, change in flips:
        content[place % len(content)] ^= change
    path = written(scratch / "mutated", bytes(content[:kept]) + tail)
    try:
        images = read_idx(path, rank=3)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert images.dtype == np.uint8 and images.ndim == 3


@settings(deadline=None)
@given(place=st.integers(0, 15), value=st.integers(0, 255))
def test_any_other_byte_in_an_idx_header_is_refused(scratch, place, value):
    content = bytearray(IDX)
    same = content[place] == value
    content[place] = value
    path = written(scratch / "header", bytes(content))
    if same:
        assert read_idx(path, rank=3).shape == (4, 3, 5)
    else:
        with pytest.raises(InputError):
            read_idx(path, rank=3)


# ---------------------------------------------------------------------------------------------------- images


def test_colour_png_reads_exactly(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    read = read_image(saved(tmp_path, Image.fromarray(pixels)))
    assert read.dtype == np.uint8 and read.flags.writeable and np.array_equal(read, pixels)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, WHITE),
        ("L", 77, [77, 77, 77]),
        ("LA", (77, 255), [77, 77, 77]),
        ("LA", (77, 0), WHITE),
        ("RGBA", (10, 20, 30, 255), [10, 20, 30]),
        ("RGBA", (10, 20, 30, 0), WHITE),
        ("RGBA", (0, 0, 0, 128), [127, 127, 127]),
    ],
)
def test_every_mode_becomes_rgb_and_transparency_becomes_white(tmp_path, mode, colour, expected):
    read = read_image(saved(tmp_path, Image.new(mode, (3, 2), colour)))
    assert read.shape == (2, 3, 3)
    assert np.all(read == expected)


def test_palette_colours_are_looked_up(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([9, 8, 7, 10, 200, 30])
    assert np.all(read_image(saved(tmp_path, image)) == [10, 200, 30])


def test_transparent_palette_colour_becomes_white(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([9, 8, 7, 10, 200, 30])
    assert np.all(read_image(saved(tmp_path, image, transparency=1)) == WHITE)


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    path = saved(tmp_path, plain((250, 40, 30)).convert("CMYK"), "image.jpg", quality=95)
    assert np.all(abs(read_image(path).astype(int) - [250, 40, 30]) < 6)


@settings(deadline=None)
@given(pixels=hnp.arrays(np.uint16, (3, 4)))
def test_16_bit_png_is_scaled_and_not_clipped(scratch, pixels):
    path = saved(scratch, Image.fromarray(pixels), "deep.png")
    assert np.array_equal(read_image(path)[..., 1], np.rint(pixels / 257.0).astype(np.uint8))


def test_transparent_16_bit_grey_becomes_white(tmp_path):
    pixels = np.array([[0, 1000, 65535]], dtype=np.uint16)
    path = saved(tmp_path, Image.fromarray(pixels), transparency=1000)
    assert read_image(path)[0, :, 0].tolist() == [0, 255, 255]


def test_16_bit_colour_png_keeps_the_high_bytes(tmp_path):
    path = written(tmp_path / "deep.png", png(1, 1, struct.pack(">B3H", 0, 0x0102, 0x80FF, 0xFFFF), depth=16))
    assert read_image(path).tolist() == [[[0x01, 0x80, 0xFF]]]


def test_16_bit_grey_png_with_alpha_becomes_rgb(tmp_path):
    samples = struct.pack(">B4H", 0, 0x4000, 0xFFFF, 0x4000, 0)
    path = written(tmp_path / "deep.png", png(2, 1, samples, depth=16, colour_type=4))
    assert read_image(path)[0, :, 0].tolist() == [0x40, 255]


def test_transparent_colour_of_a_png_becomes_white(tmp_path):
    key = png_chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))
    path = written(tmp_path / "keyed.png", png(2, 1, bytes([0, 1, 2, 3, 4, 5, 6]), extra=key))
    assert read_image(path)[0].tolist() == [WHITE, [4, 5, 6]]


@pytest.mark.parametrize("byte_order", ["<u2", ">u2"])
def test_16_bit_tiff_is_scaled_in_either_byte_order(tmp_path, byte_order):
    pixels = np.array([[0, 128, 25700, 65535]]).astype(byte_order)
    assert read_image(saved(tmp_path, Image.fromarray(pixels), "image.tif"))[0, :, 0].tolist() == [0, 0, 100, 255]


def test_float_tiff_from_0_to_1_is_scaled(tmp_path):
    pixels = np.array([[0.0, 0.2, 1.0]], dtype=np.float32)
    assert read_image(saved(tmp_path, Image.fromarray(pixels), "image.tif"))[0, :, 2].tolist() == [0, 51, 255]


@pytest.mark.parametrize("value", [np.float32(1.5), np.float32("nan"), np.float32(-1), np.int32(-1), np.int32(65536)])
def test_deep_values_without_a_known_white_are_refused(tmp_path, value):
    path = saved(tmp_path, Image.fromarray(np.full((2, 2), value)), "image.tif")
    with pytest.raises(InputError) as caught:
        read_image(path)
    one_line(caught, path, "values must be from 0 to")


UPRIGHT = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
STORED_AS = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: UPRIGHT.T[::-1],
    7: UPRIGHT[::-1, ::-1].T,
    8: UPRIGHT.T[:, ::-1],
}


@pytest.mark.parametrize("orientation", STORED_AS)
@pytest.mark.parametrize("name", ["image.png", "image.tif", "image.webp"])
def test_exif_orientation_is_undone_once(tmp_path, orientation, name):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if name.endswith("webp") else {}
    stored = Image.fromarray(np.ascontiguousarray(STORED_AS[orientation])).convert("RGB")
    path = saved(tmp_path, stored, name, exif=exif, **options)
    assert np.array_equal(read_image(path)[..., 0], UPRIGHT)


def test_exif_that_cannot_be_read_does_not_cost_the_picture(tmp_path):
    path = saved(tmp_path, plain((0, 0, 0)), "image.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xffgarbage")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.all(read_image(path) == BLACK)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_truncated_image_names_the_file(tmp_path, form, share):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(pixels), form)
    path = written(tmp_path / f"cut.{form.lower()}", content[: int(share * len(content))])
    with pytest.raises(InputError) as caught:
        read_image(path)
    one_line(caught, path)


@pytest.mark.parametrize("content", [b"", b"not an image\n", b"\xff\xd8\xff", b"%!PS-Adobe-3.0 EPSF-3.0\n", bytes(100)])
def test_file_that_is_no_image_names_itself(tmp_path, content):
    path = written(tmp_path / "note.png", content)
    with pytest.raises(InputError) as caught:
        read_image(path)
    one_line(caught, path, "expected a whole image")


@pytest.mark.parametrize("form", ["PCX", "ICO", "TGA"])
def test_only_the_listed_decoders_are_tried(tmp_path, form):
    path = written(tmp_path / "image.png", encoded(plain((1, 2, 3), (32, 32)), form))
    with pytest.raises(InputError, match="expected a whole image"):
        read_image(path)


def test_missing_image_and_directory_are_named(tmp_path):
    for path in (tmp_path / "nowhere.png", tmp_path):
        with pytest.raises(InputError) as caught:
            read_image(path)
        one_line(caught, path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [30_000, 10_000])
def test_decompression_bomb_is_refused_where_pillow_errs_and_where_it_only_warns(tmp_path, side):
    path = written(tmp_path / "bomb.png", png_declaring(side, side))
    with pytest.raises(InputError) as caught:
        read_image(path, size=32)
    one_line(caught, path, "decompression bomb")


def test_decompression_bomb_is_refused_under_strict_warnings_too(tmp_path):
    path = written(tmp_path / "bomb.png", png_declaring(10_000, 10_000))
    with warnings.catch_warnings(), pytest.raises(InputError, match="decompression bomb"):
        warnings.simplefilter("error")
        read_image(path)


def test_bomb_limit_holds_when_pillow_has_been_told_to_drop_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(InputError, match="decompression bomb"):
        read_image(written(tmp_path / "bomb.png", png_declaring(30_000, 30_000)))


def test_strip_that_would_resize_to_a_bomb_is_refused(tmp_path):
    path = saved(tmp_path, Image.new("L", (50_000, 1)))
    with pytest.raises(InputError, match="decompression bomb"):
        read_image(path, size=224)


IMAGES = [encoded(plain((200, 30, 90), (9, 7)), form) for form in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM")]


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=400, deadline=None)
@given(
    content=st.sampled_from(IMAGES),
    flips=st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 255)), max_size=4),
    kept=st.floats(0.2, 1),
)
def test_mutated_image_reads_or_is_an_input_error(scratch, content, flips, kept):
    content = bytearray(content)
    for place, change in flips:
        content[place % len(content)] ^= change
    path = written(scratch / "mutated.png", bytes(content[: round(kept * len(content))]))
    try:
        assert read_image(path, size=4).shape == (4, 4, 3)
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error)


@settings(deadline=None)
@given(width=st.integers(1, 40), height=st.integers(1, 40), size=st.integers(1, 40))
def test_resized_image_is_the_centre_square_of_the_shorter_side(scratch, width, height, size):
    path = saved(scratch, plain((3, 2, 1), (width, height)), "any.png")
    read = read_image(path, size)
    assert read.shape == (size, size, 3) and np.all(read == [3, 2, 1])


def test_image_of_the_right_size_is_not_resampled(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    assert np.array_equal(read_image(saved(tmp_path, Image.fromarray(pixels)), 6), pixels)


def test_oblong_image_of_the_right_height_is_only_cropped(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)
    assert np.array_equal(read_image(saved(tmp_path, Image.fromarray(pixels)), 6), pixels[:, 2:8])


# ---------------------------------------------------------------------------------------------------- folders


def write_folder(directory, test="test", count=3, size=(8, 8)):
    """Cats are red, dogs are blue, and the green channel counts the images of a class."""
    for part in ("train", test):
        for name, colour in (("cat", (255, 0)), ("dog", (0, 255))):
            for index in range(count):
                image = plain((colour[0], index, colour[1]), size)
                saved(directory / part / name, image, f"{index:04d}.png")
    return directory


def test_folder_reads_classes_in_sorted_order(tmp_path):
    dataset = open_dataset(f"folder:{write_folder(tmp_path)}")
    assert dataset.classes == ("cat", "dog")
    assert dataset.image_size == 8
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.train.labels.dtype == np.int64
    assert isinstance(dataset.train, FolderSplit)
    assert [dataset.test.read(index)[0, 0].tolist() for index in (1, 5)] == [[255, 1, 0], [0, 2, 255]]


def test_folder_val_stands_in_for_test_and_test_is_preferred(tmp_path):
    write_folder(tmp_path, test="val", count=2)
    assert len(open_dataset(f"folder:{tmp_path}").test) == 4
    write_folder(tmp_path, test="test", count=1)
    assert len(open_dataset(f"folder:{tmp_path}").test) == 2


def test_folder_knows_image_endings_in_any_case_and_passes_over_the_rest(tmp_path):
    write_folder(tmp_path)
    cats = tmp_path / "train" / "cat"
    for name in ("A.PNG", "b.JpEg", "c.JPG", "d.bmp", "e.WebP"):
        saved(cats, plain((1, 2, 3)), name)
    for name in (".hidden.png", "notes.txt", "Thumbs.db"):
        (cats / name).write_text("not a picture")
    (cats / "directory.png").mkdir()
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "readme.png").write_text("beside the classes")
    dataset = open_dataset(f"folder:{tmp_path}")
    assert dataset.classes == ("cat", "dog")
    assert np.bincount(dataset.train.labels).tolist() == [8, 3]
    assert dataset.train.take(range(11)).shape == (11, 8, 8, 3)


@pytest.mark.parametrize(("size", "expected"), [((12, 12), 12), ((20, 12), 12), ((12, 20), 12)])
def test_folder_takes_its_size_from_the_shorter_side_of_the_first_image(tmp_path, size, expected):
    dataset = open_dataset(f"folder:{write_folder(tmp_path, size=size)}")
    assert dataset.image_size == expected
    assert dataset.train.read(0).shape == (expected, expected, 3)


def test_folder_resizes_to_the_size_asked_for(tmp_path):
    assert open_dataset(f"folder:{write_folder(tmp_path)}", image_size=20).test.read(0).shape == (20, 20, 3)


def empty_the_cats(directory):
    for path in (directory / "train" / "cat").iterdir():
        path.unlink()


def remove(directory, part):
    (directory / part).rename(directory / "elsewhere")


def leave_no_classes(directory):
    remove(directory, "train")
    (directory / "train").mkdir()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda directory: remove(directory, "train"), "train: expected a folder"),
        (lambda directory: remove(directory, "test"), "no folder test or val"),
        (leave_no_classes, "train: has no sub-folders"),
        (empty_the_cats, "cat: has no images"),
        (lambda directory: saved(directory / "test" / "bird", plain((0, 0, 0))), "class 'bird' is not a folder of"),
        (lambda directory: (directory / "train" / "cat" / "0000.png").write_bytes(b"no"), "0000.png"),
        (lambda directory: (directory / "train" / "cat" / "loop.png").symlink_to("loop.png"), "cat: expected a folder"),
    ],
)
def test_folder_that_cannot_be_used_says_why(tmp_path, damage, said):
    damage(write_folder(tmp_path))
    with pytest.raises(InputError) as caught:
        open_dataset(f"folder:{tmp_path}")
    one_line(caught, tmp_path, said)


# ---------------------------------------------------------------------------------------------------- the loader


class Numbered(Split):
    """A split whose image i is filled with i, which fails at the indices in `bad` and counts what it has read."""

    def __init__(self, count, bad=()):
        super().__init__(np.arange(count) % 7, image_size=2)
        self.bad = frozenset(bad)
        self.reads = 0
        self.lock = threading.Lock()

    def read(self, index):
        with self.lock:
            self.reads += 1
        if index in self.bad:
            raise InputError(f"image {index} is bad")
        return np.full((2, 2, 3), index, dtype=np.uint8)


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("nfnumpy-loader")]


@settings(deadline=None, max_examples=60)
@given(
    order=st.lists(st.integers(0, 199), max_size=150),
    batch_size=st.integers(1, 70),
    workers=st.integers(0, 3),
    prefetch=st.integers(1, 4),
)
def test_batches_keep_the_order_and_only_the_last_is_short(order, batch_size, workers, prefetch):
    split = Numbered(200)
    batches = list(Loader(split, batch_size, workers, prefetch).batches(np.array(order, dtype=np.int64)))
    assert [len(labels) for _, labels in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert len(batches) == -(-len(order) // batch_size)
    read = [int(image[0, 0, 0]) for images, _ in batches for image in images]
    assert read == order
    assert [int(label) for _, labels in batches for label in labels] == [index % 7 for index in order]
    for images, labels in batches:
        assert images.dtype == np.uint8 and images.shape[1:] == (2, 2, 3) and labels.dtype == np.int64


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_folder_batches_are_the_same_for_any_number_of_workers(tmp_path, workers):
    split = open_dataset(f"folder:{write_folder(tmp_path, count=20)}").train
    order = np.random.default_rng(0).permutation(40)
    images = np.concatenate([images for images, _ in Loader(split, 16, workers).batches(order)])
    assert np.array_equal(images, np.stack([split.read(index) for index in order]))


def test_array_split_is_sliced_without_threads():
    split = open_dataset("digits").train
    stream = Loader(split, 100, workers=2).batches(np.arange(250))
    images, labels = next(stream)
    assert not loader_threads()
    assert np.array_equal(images[..., 0], split.images[:100]) and np.array_equal(labels, split.labels[:100])


def test_array_split_that_must_be_resized_gives_what_it_reads():
    split = open_dataset("digits", image_size=11).train
    (images, _), = Loader(split, 64, workers=2).batches(np.arange(50, 0, -1))
    assert np.array_equal(images, np.stack([split.read(index) for index in range(50, 0, -1)]))


def test_changing_a_batch_leaves_the_split_alone():
    stored = np.zeros((4, 3, 3, 3), dtype=np.uint8)
    split = ArraySplit(stored, np.zeros(4))
    split.read(2)[:] = 9
    for images, _ in Loader(split, 4).batches(np.arange(4)):
        images[:] = 9
    assert not stored.any()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_bad_image_is_reported_first_in_order_after_the_good_batches(workers):
    split = Numbered(100, bad={70, 35, 36})
    stream = Loader(split, 10, workers, prefetch=8).batches(np.arange(100))
    for _ in range(3):
        next(stream)
    with pytest.raises(InputError, match="image 35 is bad"):
        next(stream)
    assert not loader_threads()


def test_truncated_jpeg_in_a_folder_names_the_file(tmp_path):
    write_folder(tmp_path)
    path = saved(tmp_path / "train" / "dog", plain((9, 9, 9), (64, 64)), "broken.jpg")
    path.write_bytes(path.read_bytes()[:-200])
    split = open_dataset(f"folder:{tmp_path}").train
    with pytest.raises(InputError) as caught:
        list(Loader(split, 2, workers=2).batches(np.arange(len(split))))
    one_line(caught, path)


@pytest.fixture
def pools(monkeypatch):
    """The thread pools a loader makes: each counts its tasks, and opens `gate` once it has been told to shut down."""
    made = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.tasks = 0
            self.gate = threading.Event()
            made.append(self)

        def submit(self, *arguments):
            self.tasks += 1
            return super().submit(*arguments)

        def shutdown(self, wait, cancel_futures):
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            self.gate.set()
            super().shutdown(wait=wait)

    monkeypatch.setattr(loader, "ThreadPoolExecutor", Pool)
    return made


def test_no_more_than_prefetch_batches_are_read_ahead(pools):
    stream = Loader(Numbered(200), 10, workers=2, prefetch=3).batches(np.arange(200))
    for taken in range(1, 6):
        next(stream)
        assert pools[0].tasks == 2 * (taken + 3)
    stream.close()


def test_a_large_batch_is_handed_out_in_chunks(pools):
    next(Loader(Numbered(250), 250, workers=2).batches(np.arange(250)))
    assert pools[0].tasks == -(-250 // loader.CHUNK)


def test_closing_the_generator_early_drops_what_has_not_begun(pools):
    class Gated(Numbered):
        def read(self, index):
            if index >= 10:
                pools[0].gate.wait()
            return super().read(index)

    split = Gated(200)
    stream = Loader(split, 10, workers=2, prefetch=4).batches(np.arange(200))
    next(stream)
    stream.close()
    assert split.reads <= 10 + 2 * 5


def test_closing_the_generator_early_stops_the_threads():
    stream = Loader(Numbered(200), 10, workers=2).batches(np.arange(200))
    next(stream)
    assert loader_threads()
    stream.close()
    assert not loader_threads()


def test_leaving_the_loader_stops_the_threads_and_ends_its_generators():
    with Loader(Numbered(200), 10, workers=2) as opened:
        stream = opened.batches(np.arange(200))
        next(stream)
    assert not loader_threads()
    assert list(stream) == []
    with pytest.raises(InputError, match="closed"):
        opened.batches(np.arange(3))


def test_finished_generator_leaves_no_threads():
    assert len(list(Loader(Numbered(50), 10, workers=2).batches(np.arange(50)))) == 5
    assert not loader_threads()


def test_order_may_be_shuffled_while_batches_are_read():
    order = np.arange(50)
    stream = Loader(Numbered(50), 5, workers=2, prefetch=1).batches(order)
    next(stream)
    order[:] = 0
    read = [images[0, 0, 0, 0] for images, _ in stream]
    assert read == [5, 10, 15, 20, 25, 30, 35, 40, 45]


@pytest.mark.parametrize("workers", [0, 2])
def test_waiting_is_counted(workers):
    reader = Loader(Numbered(50), 10, workers)
    assert reader.waited_seconds == 0
    list(reader.batches(np.arange(50)))
    first = reader.waited_seconds
    assert first > 0
    list(reader.batches(np.arange(50)))
    assert reader.waited_seconds > first


@pytest.mark.parametrize("order", [[50], [-1], [0.5], [[0, 1]], [True], 3])
def test_order_that_does_not_index_the_split_is_refused_at_once(order):
    with pytest.raises(InputError, match=re.escape("batches()")):
        Loader(Numbered(50), 10).batches(order)


@pytest.mark.parametrize("setting", [{"batch_size": 0}, {"batch_size": 2.0}, {"workers": -1}, {"prefetch": 0}])
def test_impossible_loader_setting_is_named(setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        Loader(Numbered(50), **({"batch_size": 10} | setting))


def test_array_split_of_unequal_counts_is_refused():
    with pytest.raises(InputError, match="4 images but 3 labels"):
        ArraySplit(np.zeros((4, 2, 2), dtype=np.uint8), np.zeros(3))
