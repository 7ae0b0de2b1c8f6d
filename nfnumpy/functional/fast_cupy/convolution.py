"""`convolution.conv2d` and its derivatives: im2col by a kernel, products by cuBLAS; or depthwise_convolution.py,
implicit_convolution.py.

A 1×1 convolution is a product with the image as it lies in memory. Any other writes out the patch (the window) of each
output position, for as many images at a time as PATCH_BYTES allows. All groups are multiplied in one strided batch.

Kernels: backend/kernels/convolution.cu. Tests: reference_tests/kernels/test_convolution.py, test_gemm_on_cupy.py.
"""

import math
from typing import Any

import numpy

from ...backend import cublas, cuda
from ...backend.arrays import Array
from ...backend.cublas import Matrices
from .. import convolution as formulas
from ..checks import Shape
from ..convolution import conv2d_windows
from ..linear import check_bias
from . import depthwise_convolution as depthwise, implicit_convolution as implicit
from .linear import add_bias

PATCH_BYTES = 256 << 20  # of all patches that are in memory at a time, unless those of a single image are more
UNITS = {16: "Pack<unsigned>", 8: "unsigned long long", 4: "unsigned", 2: "unsigned short"}  # bits that are copied
KERNELS = cuda.KernelFile("convolution", {"gather_patches": (tuple(UNITS.values()),),
                                          "sum_patches": (cuda.FLOATING, ("true", "false"))})


def _unit(address, run):
    """The longest access, in bytes, that an address and runs of `run` bytes from there on allow."""
    together = address | run | 16
    return together & -together


class _Patches:
    """The patches of some images: (groups, images, out_h, out_w, kh, kw, in/groups), and how to multiply with them."""

    def __init__(self, x_shape, weight_shape, dtype, *, groups=1, **geometry):
        self.windows = conv2d_windows(x_shape, weight_shape, groups=groups, **geometry)
        self.x_shape = tuple(x_shape)
        self.weight_shape = tuple(weight_shape)
        self.dtype = dtype
        self.groups = groups
        self.fan, self.outputs = weight_shape[2:]
        self.out_shape = (x_shape[0], *self.windows.out, self.outputs)
        self.positions = math.prod(self.windows.out)
        self.length = math.prod(weight_shape[:3])
        is_padded = any(map(sum, self.windows.padding))
        self.pixels_themselves = self.windows.kernel == self.windows.stride == (1, 1) and not is_padded
        self.any = bool(math.prod(self.out_shape) * self.length)
        self.are_depthwise = depthwise.suits(self.windows, self.x_shape, self.weight_shape, groups)

    def stay_implicit(self, wanted, *arrays):
        """Whether "out", "x" or "weight" is to be computed from these arrays without writing patches out."""
        return not self.pixels_themselves and implicit.suits(self.windows, self.x_shape, self.weight_shape,
                                                             self.groups, wanted, *arrays)

    def chunks(self):
        """The batch as slices, even in length: one if no patches are written out."""
        images = self.x_shape[0]
        of_image = self.positions * self.length * self.groups * self.dtype.itemsize
        at_a_time = images if self.pixels_themselves else min(images, max(1, PATCH_BYTES // of_image))
        longest = cuda.ceil_div(images, cuda.ceil_div(images, at_a_time))
        return [slice(start, min(start + longest, images)) for start in range(0, images, longest)]

    def buffer(self):
        """Memory for the patches of the longest chunk; None if no patches are written out."""
        if self.pixels_themselves:
            return None
        return cuda.empty(self.chunks()[0].stop * self.positions * self.length * self.groups, self.dtype)

    def matrices(self, buffer, x, images):
        """Of every group, a row for every position: in `buffer`, or the pixels of x themselves."""
        if self.pixels_themselves:
            return Matrices(x, self.x_shape[3], self.fan)
        return Matrices(buffer, self.length, images * self.positions * self.length)

    def by_group(self, array):
        """Of every group its columns of the weight (…, out) or the output (…, out)."""
        return Matrices(array, self.outputs, self.outputs // self.groups)

    def gather(self, x, buffer):
        """Write the patches of the images x into `buffer`, and return them as Matrices."""
        if not self.pixels_themselves:
            unit = _unit(x.data.ptr | buffer.data.ptr, self.fan * x.itemsize)
            fan = self.fan * x.itemsize // unit
            rows, columns = self.windows.out
            self._launch("gather_patches", (UNITS[unit],), x, buffer, len(x), len(x) * rows * self.groups,
                         math.prod(self.windows.kernel) * fan, columns, fan)
        return self.matrices(buffer, x, len(x))

    def sum_into(self, x, buffer):
        """Give every pixel of the images x the sum of its places in the patches."""
        if not self.pixels_themselves:
            size = _unit(x.data.ptr | buffer.data.ptr, self.fan * x.itemsize) // x.itemsize  # channels of an access
            packed = size * x.itemsize == 16
            fan = self.fan // size if packed else self.fan
            self._launch("sum_patches", (x.dtype, str(packed).lower()), buffer, x, len(x), len(x) * self.x_shape[1],
                         self.groups * fan, self.x_shape[2], fan)

    def _launch(self, kernel, parameters, source, target, images, lines, across, down, fan):
        threads, pieces = cuda.block_shape(across, down)
        windows, ((top, _), (left, _)) = self.windows, self.windows.padding
        sizes = (images, *windows.image, *windows.out, *windows.kernel, *windows.stride, *windows.dilation, top, left,
                 self.groups, fan)
        KERNELS.launch(kernel, parameters, (lines, pieces), threads, source, target, *map(numpy.int32, sizes))


@formulas.conv2d.fast_path("cupy")
def conv2d(x: Array, weight: Array, bias: Array | None = None, **geometry: Any) -> Array:
    """A gather and a product a chunk, and one launch for the bias."""
    patches = _Patches(x.shape, weight.shape, x.dtype, **geometry)
    check_bias(bias, weight.shape[3], "conv2d")
    arrays = [array for array in (x, weight, bias) if array is not None]
    if not patches.any or not cuda.supports(*arrays):
        return NotImplemented
    x, weight = cuda.contiguous(x, weight)
    if patches.are_depthwise:
        return depthwise.conv2d(x, weight, bias, patches.windows)
    if patches.stay_implicit("out", x, weight):
        return implicit.conv2d(x, weight, bias, patches.windows, patches.groups)
    out = cuda.empty(patches.out_shape, x.dtype)
    buffer = patches.buffer()
    for chunk in patches.chunks():
        part = out[chunk]
        cublas.multiply(patches.gather(x[chunk], buffer), patches.by_group(weight), patches.by_group(part),
                        rows=len(part) * patches.positions, columns=weight.shape[3] // patches.groups,
                        inner=patches.length, batch=patches.groups)
    add_bias(out, bias)
    return out


@formulas.conv2d_x_vjp.fast_path("cupy")
def conv2d_x_vjp(cotangent: Array, weight: Array, x_shape: Shape, **geometry: Any) -> Array:
    """A product and a launch a chunk: the cotangent of the patches, then of every pixel the sum over those it is in."""
    patches = _Patches(x_shape, weight.shape, weight.dtype, **geometry)
    if not patches.any or not cuda.supports(cotangent, weight) or cotangent.shape != patches.out_shape:
        return NotImplemented
    cotangent, weight = cuda.contiguous(cotangent, weight)
    if patches.are_depthwise:
        return depthwise.conv2d_x_vjp(cotangent, weight, patches.x_shape, patches.windows)
    if patches.stay_implicit("x", cotangent, weight):
        return implicit.conv2d_x_vjp(cotangent, weight, patches.x_shape, patches.windows, patches.groups)
    x = cuda.empty(patches.x_shape, cotangent.dtype)
    buffer = patches.buffer()
    for chunk in patches.chunks():
        part, back = cotangent[chunk], x[chunk]
        cublas.multiply(patches.by_group(part), patches.by_group(weight).T, patches.matrices(buffer, back, len(part)),
                        rows=len(part) * patches.positions, columns=patches.length,
                        inner=weight.shape[3] // patches.groups, batch=patches.groups)
        patches.sum_into(back, buffer)
    return x


@formulas.conv2d_weight_vjp.fast_path("cupy")
def conv2d_weight_vjp(cotangent: Array, x: Array, weight_shape: Shape, **geometry: Any) -> Array:
    """A gather and a product a chunk; the chunks are added up in at least float32 and rounded once."""
    patches = _Patches(x.shape, weight_shape, x.dtype, **geometry)
    if not patches.any or not cuda.supports(cotangent, x) or cotangent.shape != patches.out_shape:
        return NotImplemented
    cotangent, x = cuda.contiguous(cotangent, x)
    if patches.are_depthwise:
        return depthwise.conv2d_weight_vjp(cotangent, x, weight_shape, patches.windows)
    if patches.stay_implicit("weight", cotangent, x):
        return implicit.conv2d_weight_vjp(cotangent, x, weight_shape, patches.windows, patches.groups)
    weight = cuda.empty(tuple(weight_shape), cuda.accumulator_type(x.dtype))
    buffer = patches.buffer()
    for chunk in patches.chunks():
        part = cotangent[chunk]
        cublas.multiply(patches.gather(x[chunk], buffer).T, patches.by_group(part), patches.by_group(weight),
                        rows=patches.length, columns=weight_shape[3] // patches.groups,
                        inner=len(part) * patches.positions, batch=patches.groups, accumulate=chunk.start > 0)
    return weight.astype(x.dtype, copy=False)
