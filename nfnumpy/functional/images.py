"""From bytes to what a network sees.

Used by: datasets/, training/. Fast paths: fast_cupy/images.py. Kernel: images.cu.
Test: reference_tests/kernels/test_images.py.
"""

from collections.abc import Sequence

from numpy.typing import DTypeLike

from ..backend import formula, namespace
from ..backend.arrays import Array


@formula
def normalize_images(images: Array, *, dtype: DTypeLike, mean: Sequence[float],
                     standard_deviation: Sequence[float]) -> Array:
    """(images/255 - mean)/standard_deviation in `dtype`, for uint8 images (N, H, W, 3) and three numbers each."""
    xp = namespace(images)
    mean, deviation = (xp.asarray(constant, dtype=dtype) for constant in (mean, standard_deviation))
    return (xp.astype(images, dtype) * (1.0 / 255.0) - mean) / deviation
