"""Pictures on disk become 8-bit RGB arrays, whatever mode they were stored in."""

import operator
import os

import numpy as np
from PIL import ExifTags, Image

from ..errors import InputError

# Only these decoders are ever tried: no file can reach one that starts another program, as PostScript's does.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM")

# Pillow's own default, restated: its limit is a global anyone may lift, and below twice the limit it only warns.
PIXEL_LIMIT = 2**30 // 12

# What shows through transparent pixels. Paper and browsers are white, and most transparent pictures are dark drawings,
# which would vanish on black.
BACKGROUND = 255

TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path, size=None, margin=0, squash=False):
    """Decode an image file to uint8 (H, W, 3), red, green and blue in 0..255, upright as its EXIF orientation says.

    With `size` (pixels) the shorter side is resized to `size + margin`, bicubic, and the centre cut out:
    (size, size, 3). With `squash` both sides are, whatever the picture's proportions.
    16-bit grey 0..65535 and floats 0..1 are scaled to 0..255; transparent pixels show white. Of an animation, the
    first frame. Raises InputError, naming the file, for anything that is not a whole image of at most
    89,478,485 pixels.
    """
    if size is not None:
        size = checked_image_size(size)
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise ValueError("it is not a regular file")  # opening a pipe would wait for a writer
        with Image.open(path, formats=FORMATS) as image:
            _refuse_above_limit(*image.size)
            image.load()
            picture = _to_rgb(_upright(image))
        return np.array(picture if size is None else _square(picture, size, margin, squash))
    except FileNotFoundError as error:
        raise InputError(f"{os.fspath(path)}: expected an image ({', '.join(FORMATS)}), but there is no such file") \
            from error
    # Damaged files make Pillow raise nearly everything: OSError, SyntaxError, struct.error, IndexError and more.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{os.fspath(path)}: expected a whole image ({', '.join(FORMATS)}), but: {reason}") from error


def resize_image(image, size):
    """Resize uint8 (H, W) or (H, W, 3) to (size, size[, 3]) pixels: shorter side bicubic, then the centre cut out."""
    return np.array(_square(Image.fromarray(image), size))


def checked_image_size(image_size):
    """`image_size` as an int, or InputError when it is not a whole number of pixels that an image can have."""
    largest = int(PIXEL_LIMIT**0.5)
    try:
        size = 0 if isinstance(image_size, bool) else operator.index(image_size)
    except TypeError:
        size = 0
    if not 1 <= size <= largest:
        raise InputError(f"image_size is {image_size!r}, expected a whole number of pixels from 1 to {largest}")
    return size


def _refuse_above_limit(width, height):
    if width * height > PIXEL_LIMIT:
        raise ValueError(f"{width}x{height} pixels are more than {PIXEL_LIMIT}, it may be a decompression bomb")


def _upright(image):
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Damaged EXIF around a sound picture is common; an orientation nobody can read is none.
        return image
    return image.transpose(TO_UPRIGHT[orientation]) if orientation in TO_UPRIGHT else image


def _to_rgb(image):
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_deep_grey_to_bytes(image))
    if not image.has_transparency_data:
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")


def _deep_grey_to_bytes(image):
    # Pillow's own conversion clips these modes at 255, which turns most of a 16-bit picture white.
    values = np.asarray(image)
    white = 1.0 if image.mode == "F" else 65535.0
    lowest, highest = values.min(), values.max()
    if not (lowest >= 0 and highest <= white):  # put so that NaN fails too
        raise ValueError(f"mode {image.mode} holds {lowest:g} to {highest:g}, its values must be from 0 to {white:g}")
    scaled = values * np.float32(255.0 / white)
    grey = np.rint(scaled, out=scaled).astype(np.uint8)
    grey[values == image.info.get("transparency")] = BACKGROUND
    return grey


def _square(image, size, margin=0, squash=False):
    if image.size == (size, size) and not margin:
        return image
    width, height = image.size
    shorter, resized = min(width, height), size + margin
    # Rounded down as torchvision does, so that the same file gives a ported model the same pixels.
    scaled_width, scaled_height = (resized, resized) if squash else \
        (resized * width // shorter, resized * height // shorter)
    # A strip one pixel high is small in its file and enormous once resized.
    _refuse_above_limit(scaled_width, scaled_height)
    left, top = (scaled_width - size) // 2, (scaled_height - size) // 2
    scaled = image.resize((scaled_width, scaled_height), Image.Resampling.BICUBIC)
    return scaled.crop((left, top, left + size, top + size))
