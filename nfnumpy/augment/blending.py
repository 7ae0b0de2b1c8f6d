"""Operations that change the values of an image where they are: contrast, colours, sharpness.

Each takes and returns a uint8 image (H, W, 3). Source: the augmentation code that the authors of NFNets released, whose
operations are those of Cubuk et al. (2019a), arXiv 1805.09501, table 6, with truncation in place of rounding.

Used by: operations.py. Test: reference_tests/augment/test_operations.py.
"""

import numpy

GREY = (0.2989, 0.5870, 0.1140)  # shares of red, green and blue


def _truncated(values: numpy.ndarray) -> numpy.ndarray:
    """float32 values clipped to 0 … 255 and cut to whole numbers."""
    return numpy.clip(values, 0.0, 255.0).astype(numpy.uint8)


def blend(base: numpy.ndarray, image: numpy.ndarray, factor: float) -> numpy.ndarray:
    """base + factor·(image - base): 0 gives `base`, 1 the image; above 1 the difference is exaggerated."""
    if factor == 1.0:
        return image
    start = base.astype(numpy.float32)
    return _truncated(start + numpy.float32(factor) * (image.astype(numpy.float32) - start))


def grey(image: numpy.ndarray) -> numpy.ndarray:
    """The grey values of an image, uint8 (H, W): the weighted mean on the scale 0 … 1, times 255.5, cut."""
    shares = numpy.asarray(GREY, numpy.float32)
    mean = (image.astype(numpy.float32) / numpy.float32(255.0)) @ shares
    return (mean * numpy.float32(255.5)).astype(numpy.uint8)


def autocontrast(image: numpy.ndarray) -> numpy.ndarray:
    """Every channel stretched from its least and greatest value to 0 … 255; one of a single value stays."""
    low = image.min(axis=(0, 1)).astype(numpy.float32)
    high = image.max(axis=(0, 1)).astype(numpy.float32)
    is_flat = high <= low
    scale = numpy.float32(255.0) / numpy.where(is_flat, numpy.float32(1.0), high - low)
    stretched = _truncated(image.astype(numpy.float32) * scale - low * scale)
    return numpy.where(is_flat, image, stretched)


def equalize(image: numpy.ndarray) -> numpy.ndarray:
    """Every channel with its histogram made even: value v becomes the number of smaller pixels over a step, rounded."""
    return numpy.stack([_equalized(image[..., channel]) for channel in range(image.shape[-1])], axis=-1)


def _equalized(channel):
    histogram = numpy.bincount(channel.ravel(), minlength=256)
    last = histogram[histogram > 0][-1]
    step = (channel.size - last) // 255
    if step == 0:
        return channel
    up_to = (numpy.cumsum(histogram) + step // 2) // step
    table = numpy.clip(numpy.concatenate([[0], up_to[:-1]]), 0, 255).astype(numpy.uint8)
    return table[channel]


def invert(image: numpy.ndarray) -> numpy.ndarray:
    """255 - image."""
    return 255 - image


def posterize(image: numpy.ndarray, bits: int) -> numpy.ndarray:
    """The highest `bits` bits (0 … 8) of every value; none is black."""
    return image & numpy.uint8(256 - (1 << (8 - bits)))


def solarize(image: numpy.ndarray, threshold: int) -> numpy.ndarray:
    """Values from `threshold` (0 … 256) up inverted."""
    return numpy.where(image < threshold, image, 255 - image)


def solarize_add(image: numpy.ndarray, addition: int, threshold: int = 128) -> numpy.ndarray:
    """`addition` added to the values below `threshold`, up to 255."""
    added = numpy.clip(image.astype(numpy.int64) + addition, 0, 255).astype(numpy.uint8)
    return numpy.where(image < threshold, added, image)


def color(image: numpy.ndarray, factor: float) -> numpy.ndarray:
    """Away from grey (factor above 1) or towards it."""
    return blend(numpy.repeat(grey(image)[..., None], 3, axis=-1), image, factor)


def contrast(image: numpy.ndarray, factor: float, mean: float) -> numpy.ndarray:
    """Away from an even grey of the value `mean` (cut to a whole number), or towards it."""
    return blend(numpy.full_like(image, int(min(max(mean, 0.0), 255.0))), image, factor)


def brightness(image: numpy.ndarray, factor: float) -> numpy.ndarray:
    """Away from black, or towards it."""
    return blend(numpy.zeros_like(image), image, factor)


def sharpness(image: numpy.ndarray, factor: float) -> numpy.ndarray:
    """Away from a smoothed image, or towards it: the mean of 3×3 pixels in which the middle counts five times.

    The outermost pixels, whose neighbours are not all there, stay.
    """
    height, width = image.shape[:2]
    if min(height, width) < 3:
        return image
    values = image.astype(numpy.float32)
    mean = numpy.zeros((height - 2, width - 2, image.shape[2]), numpy.float32)
    for down, across in numpy.ndindex(3, 3):
        weight = numpy.float32(5.0 if down == across == 1 else 1.0) / numpy.float32(13.0)
        mean += weight * values[down:height - 2 + down, across:width - 2 + across]
    smooth = image.copy()
    smooth[1:-1, 1:-1] = _truncated(mean)
    return blend(smooth, image, factor)
