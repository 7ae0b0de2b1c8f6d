"""The fast paths of `functional.squeeze_excite`: sums over pixels and the scaling of channels, image by image.

Formulas: functional/squeeze_excite.py. Test: fast_numpy/test_per_image.py.
"""

import numpy

from ...backend import tuning
from .. import squeeze_excite as formulas
from ..activations import NONLINEARITIES, sigmoid
from ..linear import bias_vjp, linear, linear_weight_vjp, linear_x_vjp
from . import per_image
from .dtypes import share_float_dtype


def _covers(many, x, weight0, bias0, weight1, bias1):
    """Whether these are arrays of one dtype and x has more than `many` values, or few channels and not few values."""
    arrays = [array for array in (x, weight0, bias0, weight1, bias1) if array is not None]
    if x.ndim != 4 or weight1.shape != weight0.shape[::-1] or not share_float_dtype(*arrays):
        return False
    return x.size > (tuning.SMALL_VALUES if x.shape[3] <= tuning.SUMMED_CHANNELS else many)


@formulas.squeeze_excite.fast_path("numpy")
def squeeze_excite(x: numpy.ndarray, weight0: numpy.ndarray, bias0: numpy.ndarray | None, weight1: numpy.ndarray,
                   bias1: numpy.ndarray | None, *, activation: str = "relu", scale: float = 2.0) -> numpy.ndarray:
    """Reads x twice, for its means and for the result."""
    if not _covers(tuning.LARGE_VALUES, x, weight0, bias0, weight1, bias1):
        return NotImplemented
    image = per_image.pixels(x)
    (sums,) = per_image.reduce_pixels(lambda image: per_image.sum_pixels(image)[None], image)
    hidden = linear(sums / image.shape[1], weight0, bias0)
    gate = linear(NONLINEARITIES[activation][0](hidden), weight1, bias1)
    out = per_image.blockwise(lambda out, image, gate: numpy.multiply(image, gate, out=out), [image],
                              [scale * sigmoid(gate)])
    return out.reshape(x.shape)


def _sum_and_dot(image, back):
    """Σ x and Σ x·cotangent over the pixels of images (n, P, C): (2, n, C)."""
    return numpy.stack([per_image.sum_pixels(image), numpy.einsum("npc,npc->nc", image, back)])


@formulas.squeeze_excite_vjp.fast_path("numpy")
def squeeze_excite_vjp(cotangent: numpy.ndarray, x: numpy.ndarray, weight0: numpy.ndarray, bias0: numpy.ndarray | None,
                       weight1: numpy.ndarray, bias1: numpy.ndarray | None, *, activation: str = "relu",
                       scale: float = 2.0) -> tuple[numpy.ndarray, ...]:
    """Reads x once, the cotangent twice."""
    if not _covers(tuning.EXCITED_VALUES, x, weight0, bias0, weight1, bias1):
        return NotImplemented
    if cotangent.shape != x.shape or cotangent.dtype != x.dtype:
        return NotImplemented
    image, back_image = per_image.pixels(x), per_image.pixels(cotangent)
    sums, dots = per_image.reduce_pixels(_sum_and_dot, image, back_image)
    pooled = sums / image.shape[1]
    hidden = linear(pooled, weight0, bias0)
    nonlinearity, nonlinearity_vjp = NONLINEARITIES[activation]
    active = nonlinearity(hidden)
    gate = linear(active, weight1, bias1)
    back = dots * (scale * sigmoid(gate) * sigmoid(-gate))
    back_hidden = nonlinearity_vjp(linear_x_vjp(back, weight1), hidden)
    back_pooled = linear_x_vjp(back_hidden, weight0)

    def compute(out, back_image, gate, shift):
        numpy.multiply(back_image, gate, out=out)
        out += shift

    back_x = per_image.blockwise(compute, [back_image], [scale * sigmoid(gate), back_pooled / image.shape[1]])
    return (back_x.reshape(x.shape), linear_weight_vjp(back_hidden, pooled), bias_vjp(back_hidden),
            linear_weight_vjp(back, active), bias_vjp(back))
