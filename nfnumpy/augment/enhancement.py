"""Pillow's changes of colour, contrast, brightness and sharpness, by which timm and torchvision augment.

Each blends a uint8 image (H, W, 3) with a duller one by a factor: 0 gives the dull one, 1 the image, above 1 more than
the image. They differ from blending.py, the released code's, in grey values, mean and rounding.

Used by: timm_operations.py, jitter.py. Test: reference_tests/augment/test_timm_operations.py.
"""

import numpy

from .blending import blend

GREY_SHARES = (19595, 38470, 7471)  # of red, green and blue (ITU-R 601-2) in 65,536 parts


def grey(image: numpy.ndarray) -> numpy.ndarray:
    """The grey values of an image, uint8 (H, W), rounded."""
    red, green, blue = numpy.moveaxis(image.astype(numpy.int32), -1, 0)
    weighted = red * GREY_SHARES[0] + green * GREY_SHARES[1] + blue * GREY_SHARES[2]
    return ((weighted + 32768) >> 16).astype(numpy.uint8)


def color(image: numpy.ndarray, factor: float) -> numpy.ndarray:
    """Away from the grey image (factor above 1) or towards it."""
    return blend(numpy.repeat(grey(image)[..., None], 3, axis=-1), image, factor)


def contrast(image: numpy.ndarray, factor: float) -> numpy.ndarray:
    """Away from an even grey, the mean of the grey image, or towards it."""
    return blend(numpy.full_like(image, int(grey(image).mean() + 0.5)), image, factor)


def brightness(image: numpy.ndarray, factor: float) -> numpy.ndarray:
    """Away from black, or towards it."""
    return blend(numpy.zeros_like(image), image, factor)


def sharpness(image: numpy.ndarray, factor: float) -> numpy.ndarray:
    """Away from a smoothed image, or towards it: the mean of 3×3 pixels in which the middle counts five times.

    The mean is rounded. The outermost pixels, whose neighbours are not all there, stay.
    """
    if min(image.shape[:2]) < 3:
        return image
    values = image.astype(numpy.int32)
    down = values[:-2] + values[1:-1] + values[2:]
    total = down[:, :-2] + down[:, 1:-1] + down[:, 2:] + 4 * values[1:-1, 1:-1]
    smooth = image.copy()
    smooth[1:-1, 1:-1] = ((2 * total + 13) // 26).astype(numpy.uint8)
    return blend(smooth, image, factor)


def autocontrast(image: numpy.ndarray) -> numpy.ndarray:
    """Every channel stretched from its least and greatest value to 0 … 255, cut; one of a single value stays."""
    stretched = image.copy()
    for channel in range(3):
        low, high = int(image[..., channel].min()), int(image[..., channel].max())
        if high > low:
            scale = 255.0 / (high - low)
            table = numpy.clip(numpy.arange(256) * scale + -low * scale, 0.0, 255.0).astype(numpy.uint8)
            stretched[..., channel] = table[image[..., channel]]
    return stretched
