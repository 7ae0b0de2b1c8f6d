"""`images.normalize_images` in one launch (kernels/images.cu)."""

import numpy

from ...backend import cuda
from .. import images as formulas

KERNELS = cuda.KernelFile("images", {"normalize_images": (cuda.FLOATING,)})


@formulas.normalize_images.fast_path("cupy")
def normalize_images(images, *, dtype, mean, standard_deviation):
    """Reads a byte and writes a value for each."""
    dtype = numpy.dtype(dtype)
    if images.dtype != numpy.uint8 or images.shape[-1:] != (3,) or dtype.name not in cuda.FLOATING:
        return NotImplemented
    (images,) = cuda.contiguous(images)
    out, number = cuda.empty(images.shape, dtype), cuda.accumulator_type(dtype)
    KERNELS.launch_elementwise("normalize_images", (dtype,), out, images, out, numpy.int64(out.size),
                *map(number, mean), *map(number, standard_deviation))
    return out
