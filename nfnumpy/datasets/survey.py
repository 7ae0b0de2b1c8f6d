"""Which size the images of a data set are trained at, when neither the user nor the model says it.

Used by: folder.py, shards/opening.py. Test: reference_tests/datasets/test_survey.py.
"""

from collections.abc import Callable

import numpy as np

from ..backend import CounterRNG, KeyedPermutation
from ..errors import InputError
from ..models import config_of, default_for
from .reading import ADVICE

SAMPLE = 300  # pictures of which the header is read
LARGE = default_for(10**4)  # the variant for images that are too large for the small ones


def surveyed_size(count: int, dimensions: Callable[[int], tuple[int, int]], skip_bad: bool = False) -> tuple[int, str]:
    """(image size in pixels, the line that says why) for `count` pictures.

    dimensions: (width, height) of a picture by its index. The size is the median shorter side of a keyed sample of
    pictures, but not above what the network that is chosen for large images is trained on. InputError, unless
    `skip_bad`, for a picture without a header that can be read, and in any case if no picture of the sample has one.
    """
    found: list[tuple[int, int]] = []
    error = None
    for index in KeyedPermutation(CounterRNG(0), "survey of image sizes", count)[:SAMPLE]:
        try:
            found.append(dimensions(int(index)))
        except InputError as bad:
            if not skip_bad:
                raise InputError(f"{bad}; {ADVICE}") from bad
            error = bad
    if not found:
        raise error or InputError("there are no pictures to train on")
    shorter = np.sort([min(pair) for pair in found])
    median = int(shorter[(len(shorter) - 1) // 2])
    size = min(median, config_of(LARGE).train_size) if default_for(median) == LARGE else median
    return size, _line(found, shorter, median, size)


def _line(found: list[tuple[int, int]], shorter: np.ndarray, median: int, size: int) -> str:
    """What was found, and what follows from it."""
    if len(set(found)) == 1:
        sizes = f"pictures of {found[0][0]}×{found[0][1]} pixels"
    else:
        sizes = f"pictures with shorter sides from {shorter[0]} to {shorter[-1]} pixels, half of them up to {median}"
    return f"{sizes}: training at {size} px; --image-size overrules it"
