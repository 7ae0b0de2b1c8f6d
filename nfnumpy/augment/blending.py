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


def looked_up(image: numpy.ndarray, table: numpy.ndarray) -> numpy.ndarray:
    """table[image], of a table of 256 uint8 values."""
    values = image.tobytes().translate(table.tobytes())  # several times as fast as NumPy's indexing
    return numpy.frombuffer(bytearray(values), numpy.uint8).reshape(image.shape)


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
    return _by_channel(image, _stretching_table)


def _by_channel(image, table_of):
    """The image with the values of each channel looked up in the table that `table_of(channel)` gives."""
    changed = numpy.empty_like(image)
    for number in range(image.shape[-1]):
        channel = numpy.ascontiguousarray(image[..., number])
        changed[..., number] = looked_up(channel, table_of(channel))
    return changed


def _stretching_table(channel):
    values = numpy.arange(256, dtype=numpy.float32)
    low, high = values[channel.min()], values[channel.max()]
    scale = numpy.float32(255.0) / max(high - low, numpy.float32(1.0))
    return _truncated(values * scale - low * scale if high > low else values)


def equalize(image: numpy.ndarray) -> numpy.ndarray:
    """Every channel with its histogram made even: value v becomes the number of smaller pixels over a step, rounded."""
    return _by_channel(image, _equalizing_table)


def _equalizing_table(channel):
    histogram = numpy.bincount(channel.ravel(), minlength=256)
    last = histogram[histogram > 0][-1]
    step = (channel.size - last) // 255
    if step == 0:
        return numpy.arange(256, dtype=numpy.uint8)
    up_to = (numpy.cumsum(histogram) + step // 2) // step
    return numpy.clip(numpy.concatenate([[0], up_to[:-1]]), 0, 255).astype(numpy.uint8)


def invert(image: numpy.ndarray) -> numpy.ndarray:
    """255 - image."""
    return 255 - image


def posterize(image: numpy.ndarray, bits: int) -> numpy.ndarray:
    """The highest `bits` bits (0 … 8) of every value; none is black."""
    return image & numpy.uint8(256 - (1 << (8 - bits)))


def solarize(image: numpy.ndarray, threshold: int) -> numpy.ndarray:
    """Values from `threshold` (0 … 256) up inverted."""
    values = numpy.arange(256, dtype=numpy.uint8)
    return looked_up(image, numpy.where(values < threshold, values, 255 - values))


def solarize_add(image: numpy.ndarray, addition: int, threshold: int = 128) -> numpy.ndarray:
    """`addition` added to the values below `threshold`, up to 255."""
    values = numpy.arange(256)
    return looked_up(image, numpy.where(values < threshold, numpy.minimum(values + addition, 255), values).astype(
        numpy.uint8))


def color(image: numpy.ndarray, factor: float) -> numpy.ndarray:
    """Away from grey (factor above 1) or towards it."""
    return image if factor == 1.0 else blend(numpy.repeat(grey(image)[..., None], 3, axis=-1), image, factor)


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
    if min(height, width) < 3 or factor == 1.0:
        return image
    values = image.astype(numpy.float32)
    once, five_times = (values * (numpy.float32(weight) / numpy.float32(13.0)) for weight in (1.0, 5.0))
    mean = once[:-2, :-2].copy()
    for down, across in list(numpy.ndindex(3, 3))[1:]:
        mean += (five_times if down == across == 1 else once)[down:height - 2 + down, across:width - 2 + across]
    smooth = image.copy()
    smooth[1:-1, 1:-1] = _truncated(mean)
    return blend(smooth, image, factor)
