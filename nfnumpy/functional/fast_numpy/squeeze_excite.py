"""Squeeze-and-excite: sums over pixels and the scaling of channels, image by image, on our threads."""

import numpy

from .. import squeeze_excite as formulas
from ..activations import relu, relu_vjp, sigmoid
from ..linear import bias_vjp, linear, linear_weight_vjp, linear_x_vjp
from . import blocks, per_image

FEW_CHANNELS = 128  # up to here the formula's own sums over pixels are slow
MANY_VALUES = 1 << 20  # up to here its derivative, whose sums are of products, is as fast for more channels


def _covers(many, x, weight0, bias0, weight1, bias1):
    """Whether these are arrays of one dtype and x has more than `many` values, or few channels and not few values."""
    arrays = [array for array in (x, weight0, bias0, weight1, bias1) if array is not None]
    return (x.ndim == 4 and weight1.shape == weight0.shape[::-1] and blocks.covers(*arrays)
            and x.size > (blocks.SMALL if x.shape[3] <= FEW_CHANNELS else many))


@formulas.squeeze_excite.fast_path("numpy")
def squeeze_excite(x, weight0, bias0, weight1, bias1):
    """Reads x twice, for its means and for the result."""
    if not _covers(blocks.LARGE, x, weight0, bias0, weight1, bias1):
        return NotImplemented
    image = per_image.pixels(x)
    (sums,) = per_image.add_up(lambda image: per_image.total(image)[None], image)
    gate = linear(relu(linear(sums / image.shape[1], weight0, bias0)), weight1, bias1)
    return per_image.fill(lambda out, image, gate: numpy.multiply(image, gate, out=out), [image],
                       [2.0 * sigmoid(gate)]).reshape(x.shape)


def _total_and_dot(image, back):
    return numpy.stack([per_image.total(image), numpy.einsum("npc,npc->nc", image, back)])


@formulas.squeeze_excite_vjp.fast_path("numpy")
def squeeze_excite_vjp(cotangent, x, weight0, bias0, weight1, bias1):
    """Reads x once, the cotangent twice."""
    if (not _covers(MANY_VALUES, x, weight0, bias0, weight1, bias1) or cotangent.shape != x.shape
            or cotangent.dtype != x.dtype):
        return NotImplemented
    image, back_image = per_image.pixels(x), per_image.pixels(cotangent)
    sums, dots = per_image.add_up(_total_and_dot, image, back_image)
    pooled = sums / image.shape[1]
    hidden = linear(pooled, weight0, bias0)
    active = relu(hidden)
    gate = linear(active, weight1, bias1)
    back = dots * (2.0 * sigmoid(gate) * sigmoid(-gate))
    back_hidden = relu_vjp(linear_x_vjp(back, weight1), hidden)

    def compute(out, back_image, gate, shift):
        numpy.multiply(back_image, gate, out=out)
        out += shift

    back_x = per_image.fill(compute, [back_image],
                         [2.0 * sigmoid(gate), linear_x_vjp(back_hidden, weight0) / image.shape[1]])
    return (back_x.reshape(x.shape), linear_weight_vjp(back_hidden, pooled), bias_vjp(back_hidden),
            linear_weight_vjp(back, active), bias_vjp(back))
