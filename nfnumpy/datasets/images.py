"""Decoding image files of any mode to 8-bit RGB arrays, and resizing them."""

import contextlib
import io
import operator
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from ..errors import InputError
from .decoders import FORMATS, Source, decode

# Pillow's own default, restated: its limit is a global that any program may lift, and up to twice the limit it only
# warns. Above twice the limit it refuses.
PIXEL_LIMIT = 2**30 // 12
LARGEST_PIXEL_LIMIT = 2 * PIXEL_LIMIT

# The colour of transparent pixels. Paper and browsers are white, and most transparent pictures are dark drawings,
# which could not be seen on black.
BACKGROUND = 255

# How HEIC files begin, after the length of their first box: ISO/IEC 23008-12, annex B. Pillow does not read them.
HEIC = {b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc")}

TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(source: Source, size: int | None = None, crop_margin: int = 0, keep_aspect: bool = True,
               max_pixels: int = PIXEL_LIMIT, name: str | None = None, decoder: str = "pillow",
               least: int | None = None) -> np.ndarray:
    """Decode an image file, a path or an open file of bytes, to uint8 (H, W, 3), red, green and blue in 0..255.

    The picture is upright by its EXIF orientation. With `size` (pixels) the shorter side is resized to
    `size + crop_margin`, bicubic, and the centre cut out: (size, size, 3). Without `keep_aspect` both sides are resized
    to that length, which changes the proportions. 16-bit grey 0..65535 and floats 0..1 are scaled to 0..255;
    transparent pixels show white. Of an animation, the first frame.

    decoder: one of DECODERS; least: pixels that its shorter side must keep where it decodes a JPEG smaller, None for
    what `size` needs, or for all of them.
    Raises InputError, which calls the file `name` (default: its path), for anything that is not a whole image of at
    most `max_pixels`.
    """
    if size is not None:
        size = checked_image_size(size)
        least = least or size + crop_margin
    with _opened(source, name, max_pixels) as image:
        picture = _to_rgb(_upright(decode(image, source, decoder, least)))
        if size is not None:
            picture = _square(picture, size, crop_margin, keep_aspect, max_pixels)
        return np.array(picture)


def image_dimensions(source: Source, max_pixels: int = PIXEL_LIMIT, name: str | None = None) -> tuple[int, int]:
    """(width, height) in pixels as the header of an image file says; InputError as read_image raises it."""
    with _opened(source, name, max_pixels) as image:
        return image.size


@contextlib.contextmanager
def _opened(source: Source, name: str | None, max_pixels: int) -> Iterator[Image.Image]:
    """Context with the opened image; any error in it is an InputError that names the file."""
    if name is None:
        name = os.fspath(source) if isinstance(source, str | os.PathLike) else "an image"
    try:
        if isinstance(source, str | os.PathLike) and os.path.exists(source) and not os.path.isfile(source):
            raise ValueError("it is not a regular file")  # opening a pipe would wait for a writer
        with Image.open(source, formats=FORMATS) as image:
            _refuse_above(max_pixels, *image.size)
            yield image
    except FileNotFoundError as error:
        raise InputError(f"{name}: expected an image ({', '.join(FORMATS)}), but there is no such file") from error
    except UnidentifiedImageError as error:  # whose message has the address of an open file
        raise InputError(f"{name}: expected a whole image ({', '.join(FORMATS)}), but {_unknown(source)}") from error
    # Damaged files make Pillow raise nearly everything: OSError, SyntaxError, struct.error, IndexError and more.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: expected a whole image ({', '.join(FORMATS)}), but: {reason}") from error


def _unknown(source: Source) -> str:
    """What is wrong with a file that begins as no image that is read here."""
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            beginning = file.read(12)
    else:
        source.seek(0)
        beginning = source.read(12)
    if not beginning:
        return "the file is empty"
    if beginning[4:] in HEIC:
        return "it is a HEIC picture, which has to be converted to JPEG"
    return "it begins as none of them does"


def resize_image(image: np.ndarray, size: int, crop_margin: int = 0, keep_aspect: bool = True) -> np.ndarray:
    """Resize uint8 (H, W) or (H, W, 3) and cut the centre out, (size, size[, 3]), as read_image does with a file."""
    return np.array(_square(Image.fromarray(image), size, crop_margin, keep_aspect))


def encode_png(image: np.ndarray) -> bytes:
    """A PNG file with the pixels of uint8 (H, W) or (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def checked_image_size(image_size: object) -> int:
    """`image_size` as an int, or InputError when it is not a whole number of pixels that an image can have."""
    return _checked_pixels("image_size", image_size, int(PIXEL_LIMIT**0.5))


def checked_max_pixels(max_pixels: object) -> int:
    """`max_pixels` as an int, or InputError when it is not a whole number of pixels that Pillow decodes."""
    return _checked_pixels("max_pixels", max_pixels, LARGEST_PIXEL_LIMIT)


def _checked_pixels(name: str, value: Any, largest: int) -> int:
    try:
        pixels = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        pixels = 0
    if not 1 <= pixels <= largest:
        raise InputError(f"{name} is {value!r}, expected a whole number of pixels from 1 to {largest}")
    return pixels


def _refuse_above(max_pixels: int, width: int, height: int) -> None:
    """ValueError for more than `max_pixels` pixels."""
    if width * height > max_pixels:
        raise ValueError(f"{width}x{height} pixels are more than {max_pixels}, it may be a decompression bomb; "
                         f"--max-pixels (max_pixels=) allows up to {LARGEST_PIXEL_LIMIT}")


def _upright(image: Image.Image) -> Image.Image:
    """The image turned and flipped as its EXIF orientation says."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Damaged EXIF around an intact picture is common; an unreadable orientation counts as none.
        return image
    return image.transpose(TO_UPRIGHT[orientation]) if orientation in TO_UPRIGHT else image


def _to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as 8-bit RGB, on BACKGROUND where it is transparent."""
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_deep_grey_to_bytes(image))
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    paper = Image.new("RGBA", image.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")


def _deep_grey_to_bytes(image: Image.Image) -> np.ndarray:
    """16-bit grey (0..65535) or float grey (0..1) as uint8; ValueError for values outside of these ranges.

    Pillow's own conversion clips these modes at 255, which turns most of a 16-bit picture white.
    """
    values = np.asarray(image)
    white = 1.0 if image.mode == "F" else 65535.0
    lowest = values.min()
    highest = values.max()
    if not (lowest >= 0 and highest <= white):  # in this form NaN fails too
        raise ValueError(f"mode {image.mode} holds {lowest:g} to {highest:g}, its values must be from 0 to {white:g}")
    scaled = values * np.float32(255.0 / white)
    grey = np.rint(scaled, out=scaled).astype(np.uint8)
    grey[values == image.info.get("transparency")] = BACKGROUND
    return grey


def _square(image: Image.Image, size: int, crop_margin: int = 0, keep_aspect: bool = True,
            max_pixels: int = PIXEL_LIMIT) -> Image.Image:
    """The centre of the resized image, size × size pixels; the arguments as read_image has them."""
    if image.size == (size, size) and not crop_margin:
        return image
    scaled_width = scaled_height = size + crop_margin
    if keep_aspect:
        # Rounded down as torchvision does, so that the same file gives a ported model the same pixels.
        width, height = image.size
        scaled_width = (size + crop_margin) * width // min(width, height)
        scaled_height = (size + crop_margin) * height // min(width, height)
    # A strip one pixel high is small in its file and enormous once resized.
    _refuse_above(max_pixels, scaled_width, scaled_height)
    left = (scaled_width - size) // 2
    top = (scaled_height - size) // 2
    scaled = image.resize((scaled_width, scaled_height), Image.Resampling.BICUBIC)
    return scaled.crop((left, top, left + size, top + size))
