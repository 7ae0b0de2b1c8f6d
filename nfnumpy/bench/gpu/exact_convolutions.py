"""Convolutions and their derivatives of small whole numbers, whose sums are exact: as implicit products, and depthwise.

Each check returns (whether all values are those of the formula in float64, how many are not), in "tf32" or "bf16".
"""

import numpy

from ... import backend as backends
from ...backend import to_host
from ...functional import convolution
from ...functional.fast_cupy import implicit_convolution

X_SHAPE = (2, 9, 7, 64)  # positions that do not fill the last tile, or the last run
DEPTHWISE = ((3, 1), (5, 2), (7, 1))  # (side of the kernel, stride): with runs, and tap by tap


def implicit(precision: str) -> tuple[bool, str]:
    """A 3×3 convolution to 128 channels."""
    with implicit_convolution.switched(True), backends.tf32(True):
        return _verdict(*_differences(precision, (3, 3, 64, 128)))


def depthwise(precision: str) -> tuple[bool, str]:
    """Every channel by itself, for the kernels of `DEPTHWISE`."""
    found = [_differences(precision, (side, side, 1, 64), stride=stride, groups=64) for side, stride in DEPTHWISE]
    return _verdict(sum(wrong for wrong, _ in found), sum(count for _, count in found))


def _verdict(wrong, count):
    return wrong == 0, f"{wrong} of {count} values differ"


def _differences(precision, weight_shape, **geometry):
    """(number of values that differ, number of values) of the output and both derivatives."""
    backend = backends.get("cupy")
    dtype = backend.compute_dtype("bf16" if precision == "bf16" else None, "float32")
    windows = convolution.conv2d_windows(X_SHAPE, weight_shape, **geometry)
    random = numpy.random.default_rng(0)
    x, weight, cotangent = (random.integers(-1, 2, shape).astype(numpy.float64)
                            for shape in (X_SHAPE, weight_shape, (X_SHAPE[0], *windows.out, weight_shape[3])))
    expected = _all_three(x, weight, cotangent, geometry)
    found = _all_three(*(backend.asarray(array.astype(dtype)) for array in (x, weight, cotangent)), geometry)
    wrong = sum(int(numpy.sum(to_host(ours) != value.astype(dtype)))
                for ours, value in zip(found, expected, strict=True))
    return wrong, sum(value.size for value in expected)


def _all_three(x, weight, cotangent, geometry):
    return (convolution.conv2d(x, weight, **geometry),
            convolution.conv2d_x_vjp(cotangent, weight, x.shape, **geometry),
            convolution.conv2d_weight_vjp(cotangent, x, weight.shape, **geometry))
