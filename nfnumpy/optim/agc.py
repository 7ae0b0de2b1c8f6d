"""Adaptive gradient clipping: a unit's gradient may not exceed a share of the unit's own norm.

Source: Brock et al. (2021b), arXiv 2102.06171, eq. 3 and section 3; units as in the authors' released code.
"""

import math

from ..backend import as_array, formula, namespace
from ..errors import InputError

SMALLEST_GRADIENT_NORM = 1e-6


def is_single_unit(shape):
    """Whether a tensor of that shape (a bias, a gain, a scalar) has at most one axis longer than 1."""
    return sum(size != 1 for size in shape) <= 1


def unit_count(shape):
    """How many norms `unitwise_norm` gives for a tensor of that shape."""
    return 1 if is_single_unit(shape) else shape[-1]


def unitwise_norm(w):
    """The L2 norm of each output unit of an array.

    (kh, kw, in, out): one a channel, (1, 1, 1, out); (in, out): one a column, (1, out); whatever has at most one axis
    longer than 1 (biases, gains, scalars) is a single unit, ().
    """
    xp = namespace(w)
    vector = is_single_unit(w.shape)
    axes = None if vector else tuple(range(w.ndim - 1))
    return as_array(xp.sqrt(xp.sum(w * w, axis=axes, keepdims=not vector)))


@formula
def clip_factor(grad, param, *, clipping=0.01, eps=1e-3):
    """What AGC multiplies each unit's gradient by: 1, or lambda·max(‖W‖, eps)/‖G‖ where that is less.

    grad and param of one shape; the result has the shape of their unit-wise norms.
    """
    return clip_factor_from_norms(unitwise_norm(grad), unitwise_norm(param), clipping, eps)


def clip_factor_from_norms(norm, param_norm, clipping, eps):
    """`clip_factor` for a gradient and a parameter whose unit-wise norms are known."""
    xp = namespace(norm)
    largest = xp.clip(param_norm, eps, None) * clipping
    scale = largest / xp.clip(norm, SMALLEST_GRADIENT_NORM, None)
    return xp.where(norm > largest, scale, xp.ones_like(scale))


def adaptive_gradient_clip(grad, param, clipping=0.01, eps=1e-3):
    """The gradient (an array of param's shape) with every unit's norm brought to at most clipping·max(‖W‖, eps).

    InputError for shapes that differ, or a clipping or eps that is not positive.
    """
    if tuple(grad.shape) != tuple(param.shape):
        raise InputError(f"adaptive_gradient_clip: gradient {tuple(grad.shape)} and parameter {tuple(param.shape)} "
                         f"differ in shape")
    if not (clipping > 0.0 and eps > 0.0 and math.isfinite(clipping) and math.isfinite(eps)):
        raise InputError(f"adaptive_gradient_clip: clipping={clipping!r}, eps={eps!r}: expected positive numbers")
    return as_array(grad * clip_factor(grad, param, clipping=clipping, eps=eps))
