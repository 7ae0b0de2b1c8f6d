"""`images.normalize_images` in one launch.

Kernel: backend/kernels/images.cu. Test: reference_tests/kernels/test_images.py.
"""

from collections.abc import Sequence

import numpy
from numpy.typing import DTypeLike

from ...backend import cuda
from ...backend.arrays import Array
from .. import images as formulas

KERNELS = cuda.KernelFile("images", {"normalize_images": (cuda.FLOATING,)})


@formulas.normalize_images.fast_path("cupy")
def normalize_images(images: Array, *, dtype: DTypeLike, mean: Sequence[float],
                     standard_deviation: Sequence[float]) -> Array:
    """Reads a byte and writes a value for each."""
    dtype = numpy.dtype(dtype)
    if images.dtype != numpy.uint8 or images.shape[-1:] != (3,) or cuda.type_name(dtype) not in cuda.FLOATING:
        return NotImplemented
    (images,) = cuda.contiguous(images)
    out = cuda.empty(images.shape, dtype)
    wide = cuda.accumulator_type(dtype)
    KERNELS.launch_elementwise("normalize_images", (dtype,), out, images, out, numpy.int64(out.size),
                               *map(wide, mean), *map(wide, standard_deviation))
    return out
