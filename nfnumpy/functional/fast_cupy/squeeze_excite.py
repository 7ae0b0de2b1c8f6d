"""`squeeze_excite` and its derivative: kernels read and write the images, `linear` and its derivatives compute the
(N, C) matrices between them.

In half precision the means, hidden layers and gates between the launches are rounded to it.

Kernels: backend/kernels/image_means.cu, squeeze_excite.cu. Test: reference_tests/kernels/test_squeeze_excite.py.
"""

import numpy

from ...backend import cuda
from ...backend.arrays import Array
from .. import squeeze_excite as formulas
from ..activations import scaled_nonlinearity, scaled_nonlinearity_vjp
from ..linear import bias_vjp, linear, linear_weight_vjp, linear_x_vjp
from .image_means import image_mean, image_mean_and_dot, map_tiles

KERNELS = cuda.KernelFile("squeeze_excite", {
    "excite": (cuda.FLOATING,), "excite_vjp": (cuda.FLOATING,), "gate_vjp": (cuda.FLOATING,)})


def _covers(x, weight0, bias0, weight1, bias1, scale):
    arrays = [array for array in (x, weight0, bias0, weight1, bias1) if array is not None]
    fits = x.ndim == 4 and tuple(weight1.shape) == tuple(reversed(weight0.shape)) and type(scale) in (int, float)
    return fits and cuda.supports(*arrays)


@formulas.squeeze_excite.fast_path("cupy")
def squeeze_excite(x: Array, weight0: Array, bias0: Array, weight1: Array, bias1: Array, *, activation: str = "relu",
                   scale: float = 2.0) -> Array:
    """Reads x twice, for its means and for the result."""
    if not _covers(x, weight0, bias0, weight1, bias1, scale):
        return NotImplemented
    (x,) = cuda.contiguous(x)
    hidden = linear(image_mean(x), weight0, bias0)
    (gate,) = cuda.contiguous(linear(scaled_nonlinearity(hidden, name=activation, scale=1.0), weight1, bias1))
    out = cuda.empty_like(x)
    map_tiles(KERNELS, "excite", x.shape, x, gate, out, cuda.accumulator_type(x.dtype)(scale))
    return out


@formulas.squeeze_excite_vjp.fast_path("cupy")
def squeeze_excite_vjp(cotangent: Array, x: Array, weight0: Array, bias0: Array, weight1: Array, bias1: Array, *,
                       activation: str = "relu", scale: float = 2.0) -> tuple[Array, Array, Array, Array, Array]:
    """Reads x once, the cotangent twice."""
    if not _covers(x, weight0, bias0, weight1, bias1, scale):
        return NotImplemented
    if not cuda.supports(cotangent, x) or cotangent.shape != x.shape:
        return NotImplemented
    cotangent, x = cuda.contiguous(cotangent, x)
    pooled, dot = image_mean_and_dot(x, cotangent)
    hidden = linear(pooled, weight0, bias0)
    active = scaled_nonlinearity(hidden, name=activation, scale=1.0)
    (gate,) = cuda.contiguous(linear(active, weight1, bias1))
    back, wide_scale = cuda.empty_like(gate), cuda.accumulator_type(x.dtype)(scale)
    KERNELS.launch("gate_vjp", (x.dtype,), cuda.ceil_div(gate.size, cuda.THREADS), cuda.THREADS, dot, gate, back,
                   numpy.int64(gate.size), numpy.int64(gate.shape[1]), numpy.int32(dot.shape[1]), wide_scale)
    back_hidden = scaled_nonlinearity_vjp(linear_x_vjp(back, weight1), hidden, name=activation, scale=1.0)
    (back_mean,) = cuda.contiguous(linear_x_vjp(back_hidden, weight0))
    back_x = cuda.empty_like(x)
    map_tiles(KERNELS, "excite_vjp", x.shape, cotangent, gate, back_mean, back_x, wide_scale)
    return (back_x, linear_weight_vjp(back_hidden, pooled), bias_vjp(back_hidden), linear_weight_vjp(back, active),
            bias_vjp(back))
