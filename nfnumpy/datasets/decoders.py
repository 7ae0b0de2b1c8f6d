"""Formats of image files, and the decoders to choose from: Pillow, and two that decode large JPEGs smaller.

JPEG can be decoded at 1/2, 1/4 or 1/8 of its size for a fraction of the work. What is resized afterwards is then
another picture than the whole one resized, so these decoders change pixels.

Used by: images.py. Test: reference_tests/datasets/test_decoders.py.
"""

import os
from typing import IO, Any

from PIL import Image, features

from ..errors import InputError

# Only these decoders are ever tried: no file can reach one that starts another program, as PostScript's does.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM", *(("AVIF",) if features.check("avif") else ()))
ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
           ".pbm", ".pnm", ".pfm", *((".avif",) if "AVIF" in FORMATS else ()))
DECODERS = ("pillow", "draft", "simplejpeg")

Source = str | os.PathLike[str] | IO[bytes]


def check_decoder(decoder: str) -> None:
    """InputError if the decoder is not known, or not installed."""
    if decoder not in DECODERS:
        raise InputError(f"decoder {decoder!r}: expected {', '.join(DECODERS)}")
    if decoder == "simplejpeg":
        _simplejpeg()


def decode(image: Image.Image, source: Source, decoder: str, least: int | None) -> Image.Image:
    """The pixels of an opened image, of which only the header has been read, from the file `source`.

    least: pixels that the shorter side must keep; None for the whole image. Images other than JPEGs are decoded whole.
    """
    if decoder != "pillow" and least is not None and image.format == "JPEG" and image.mode in ("RGB", "L"):
        width, height = (-(-side * least // min(image.size)) for side in image.size)
        if decoder == "simplejpeg":
            return _decode_with_simplejpeg(image, source, width, height)
        image.draft(None, (width, height))
    image.load()
    return image


def _decode_with_simplejpeg(image: Image.Image, source: Source, width: int, height: int) -> Image.Image:
    """The JPEG of at least `width` × `height` pixels where it has as many, with what its header says of orientation."""
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            content = file.read()
    else:
        source.seek(0)
        content = source.read()
    colours = "RGB" if image.mode == "RGB" else "GRAY"
    pixels = _simplejpeg().decode_jpeg(content, colours, min_width=width, min_height=height, min_factor=2)
    decoded = Image.fromarray(pixels if image.mode == "RGB" else pixels[..., 0])
    decoded.info["exif"] = image.info.get("exif", b"")
    return decoded


def _simplejpeg() -> Any:
    """The package simplejpeg; InputError that says how to install it."""
    try:
        import simplejpeg
    except ImportError as error:
        raise InputError(f"--decoder simplejpeg: {error}; pip install 'nfnumpy[simplejpeg]'") from None
    return simplejpeg
