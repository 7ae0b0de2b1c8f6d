"""From uint8 images to the input of a network: means and standard deviations of colors, and the normalization.

Used by: training/trainer.py, training/classifier.py. Test: reference_tests/models/test_models_against_torch.py.
"""

from typing import Any, NamedTuple

import numpy.typing as npt

from ..backend.arrays import Array
from ..functional.images import normalize_images


class Normalization(NamedTuple):
    """Means and standard deviations of red, green and blue on the scale 0 … 1."""

    mean: tuple[float, float, float]
    standard_deviation: tuple[float, float, float]


# Over ImageNet.
MEAN = (0.485, 0.456, 0.406)
STANDARD_DEVIATION = (0.229, 0.224, 0.225)
NORMALIZATIONS = {
    "imagenet": Normalization(MEAN, STANDARD_DEVIATION),  # in all training here, and in most published weights
    "inception": Normalization((0.5,) * 3, (0.5,) * 3),  # -1 … 1, as the Inception networks were trained
}
IMAGENET = NORMALIZATIONS["imagenet"]


def to_input(images: Array, backend: Any, dtype: npt.DTypeLike, normalization: Normalization = IMAGENET) -> Array:
    """uint8 images (N, H, W, 3), on the host or on `backend`, as (images/255 - mean)/std in `dtype` on `backend`."""
    return normalize_images(backend.asarray(images), dtype=backend.xp.dtype(dtype), mean=normalization.mean,
                            standard_deviation=normalization.standard_deviation)
