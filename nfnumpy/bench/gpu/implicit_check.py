"""A convolution and its derivatives as implicit products, of small whole numbers, whose sums are exact."""

import numpy

from ... import backend as backends
from ...backend import to_host
from ...functional import convolution
from ...functional.fast_cupy import implicit_convolution

X_SHAPE, WEIGHT_SHAPE = (2, 9, 7, 64), (3, 3, 64, 128)  # positions that do not fill the last tile
GEOMETRY = {"stride": 1, "padding": "SAME", "dilation": 1, "groups": 1}


def exact(precision: str) -> tuple[bool, str]:
    """(whether all values are those of the formula in float64, how many are not), in "tf32" or "bf16"."""
    backend = backends.get("cupy")
    dtype = backend.compute_dtype("bf16" if precision == "bf16" else None, "float32")
    random = numpy.random.default_rng(0)
    x, weight, cotangent = (random.integers(-1, 2, shape).astype(numpy.float64)
                            for shape in (X_SHAPE, WEIGHT_SHAPE, (*X_SHAPE[:3], WEIGHT_SHAPE[3])))
    expected = _all_three(x, weight, cotangent)
    with implicit_convolution.switched(True), backends.tf32(True):
        found = _all_three(*(backend.asarray(array.astype(dtype)) for array in (x, weight, cotangent)))
    wrong = sum(int(numpy.sum(to_host(ours) != value.astype(dtype)))
                for ours, value in zip(found, expected, strict=True))
    return wrong == 0, f"{wrong} of {sum(value.size for value in expected)} values differ"


def _all_three(x, weight, cotangent):
    return (convolution.conv2d(x, weight, **GEOMETRY),
            convolution.conv2d_x_vjp(cotangent, weight, x.shape, **GEOMETRY),
            convolution.conv2d_weight_vjp(cotangent, x, weight.shape, **GEOMETRY))
