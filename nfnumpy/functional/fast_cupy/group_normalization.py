"""Group, instance and layer normalization over images, by the kernels of batch normalization.

Moments over the channels of each pixel (`layer_norm` with over="channels") are the formulas': for them a block would
have a single pixel.

Kernels: backend/kernels/normalization.cu, `column_sums` of bias.cu.
Test: reference_tests/kernels/test_normalization.py.
"""

from ...backend import cuda
from ...backend.arrays import Array
from .. import group_normalization as formulas
from .normalization import Grouped, covers

EPS = formulas.EPS


def _are_single_pixels(x):
    return x.size == x.shape[0] * x.shape[-1]


@formulas.group_norm.fast_path("cupy")
def group_norm(x: Array, gamma: Array, beta: Array, *, groups: int, eps: float = EPS) -> Array:
    """Three launches; reads x twice."""
    if not covers(x, of_channels=(gamma, beta)) or _are_single_pixels(x):
        return NotImplemented
    x, gamma, beta = cuda.contiguous(x, gamma, beta)
    grouped = Grouped(x, x.shape[0], groups)
    mean, variance = grouped.moments(x)
    return grouped.normalize(x, gamma, beta, mean, variance, eps)


@formulas.group_norm_vjp.fast_path("cupy")
def group_norm_vjp(cotangent: Array, x: Array, gamma: Array, *, groups: int,
                   eps: float = EPS) -> tuple[Array, Array, Array]:
    """Six launches, of which two compute the moments anew."""
    if not covers(x, cotangent, of_channels=(gamma,)) or _are_single_pixels(x):
        return NotImplemented
    cotangent, x, gamma = cuda.contiguous(cotangent, x, gamma)
    grouped = Grouped(x, x.shape[0], groups)
    mean, variance = grouped.moments(x)
    return grouped.vjp(cotangent, x, gamma, mean, variance, eps, through_moments=True)
