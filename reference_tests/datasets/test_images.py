"""Image files: every mode becomes the right RGB pixels; anything else is one InputError that names the file."""

import struct
import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from nfnumpy.datasets import PIXEL_LIMIT, checked_max_pixels, read_image
from nfnumpy.errors import InputError
from reference_tests.helpers.dataset_files import (
    BLACK,
    WHITE,
    encoded,
    one_line,
    plain,
    png,
    png_chunk,
    png_declaring,
    saved,
    written,
)


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


def test_a_picture_with_unreadable_exif_is_read(tmp_path):
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
    for path, reason in ((tmp_path / "nowhere.png", "there is no such file"), (tmp_path, "not a regular file")):
        with pytest.raises(InputError) as caught:
            read_image(path)
        one_line(caught, path, reason)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [30_000, 10_000])
def test_decompression_bomb_is_refused(tmp_path, side):
    """Where Pillow refuses it, and where it only warns."""
    path = written(tmp_path / "bomb.png", png_declaring(side, side))
    with pytest.raises(InputError) as caught:
        read_image(path, size=32)
    one_line(caught, path, "decompression bomb")


def test_decompression_bomb_is_refused_under_strict_warnings_too(tmp_path):
    path = written(tmp_path / "bomb.png", png_declaring(10_000, 10_000))
    with warnings.catch_warnings(), pytest.raises(InputError, match="decompression bomb"):
        warnings.simplefilter("error")
        read_image(path)


def test_bomb_limit_does_not_depend_on_pillows_own(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(InputError, match="decompression bomb"):
        read_image(written(tmp_path / "bomb.png", png_declaring(30_000, 30_000)))


@pytest.mark.parametrize("pixels", [63, 64])
def test_the_limit_of_pixels_can_be_set(tmp_path, pixels):
    path = saved(tmp_path, plain((1, 2, 3)))
    if pixels >= 8 * 8:
        assert np.all(read_image(path, max_pixels=pixels) == [1, 2, 3])
    else:
        with pytest.raises(InputError) as caught:
            read_image(path, max_pixels=pixels)
        one_line(caught, path, "8x8 pixels are more than 63", "--max-pixels", 2 * PIXEL_LIMIT)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pillow_itself_decodes_up_to_the_largest_limit(tmp_path):
    """A picture that ends early is read up to its end: the number of its pixels has been accepted."""
    path = written(tmp_path / "large.png", png_declaring(13_377, 13_377))
    with pytest.raises(InputError, match=r"truncated|broken|file ended|data"):
        read_image(path, max_pixels=checked_max_pixels(2 * PIXEL_LIMIT))


@pytest.mark.parametrize("value", [0, -1, 2.5, "32", True, 2 * PIXEL_LIMIT + 1])
def test_an_impossible_limit_of_pixels_is_refused(value):
    with pytest.raises(InputError, match="max_pixels"):
        checked_max_pixels(value)


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
    for position, change in flips:
        content[position % len(content)] ^= change
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
