"""From uint8 images to the input of a network: ImageNet's means and standard deviations, and the normalization.

Used by: training/trainer.py, training/classifier.py. Test: reference_tests/models/test_models_against_torch.py.
"""

from typing import Any

import numpy.typing as npt

from ..backend.arrays import Array
from ..functional.images import normalize_images

# Means and standard deviations of red, green and blue over ImageNet, on the scale 0 … 1.
MEAN = (0.485, 0.456, 0.406)
STANDARD_DEVIATION = (0.229, 0.224, 0.225)


def to_input(images: Array, backend: Any, dtype: npt.DTypeLike) -> Array:
    """uint8 images (N, H, W, 3), on the host or on `backend`, as (images/255 - mean)/std in `dtype` on `backend`."""
    return normalize_images(backend.asarray(images), dtype=backend.xp.dtype(dtype), mean=MEAN,
                            standard_deviation=STANDARD_DEVIATION)
