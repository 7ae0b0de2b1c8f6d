"""From bytes to what a network sees."""

from ..backend import formula, namespace


@formula
def normalize_images(images, *, dtype, mean, standard_deviation):
    """(images/255 - mean)/standard_deviation in `dtype`, for uint8 images (N, H, W, 3) and three numbers each."""
    xp = namespace(images)
    mean, deviation = (xp.asarray(constant, dtype=dtype) for constant in (mean, standard_deviation))
    return (xp.astype(images, dtype) * (1.0 / 255.0) - mean) / deviation
