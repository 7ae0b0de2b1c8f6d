"""Group, layer and instance normalization: moments of each image alone, over groups of its channels.

Source: Wu, He (2018), arXiv 1803.08494 (groups; eq. 1-6 and figure 2 have all four normalizations in one notation);
Ba et al. (2016), arXiv 1607.06450 (layer); Ulyanov et al. (2016), arXiv 1607.08022 (instance).

Used by: ops.py, nn/normalization.py. Fast paths: fast_numpy/normalization.py,
fast_cupy/group_normalization.py. Kernels: normalization.cu.
Test: reference_tests/functional/test_operations_against_torch.py, test_normalization.py.
"""

import math

from ..backend import formula, namespace
from ..backend.arrays import Array, FullPrecisionArray
from ..errors import InputError
from .checks import shown, whole_number
from .normalization_inputs import check_channels, check_eps, check_image, check_pixels, full_precision, rounded

EPS = 1e-5


def _grouped(x: Array, groups: int) -> Array:
    """(N, …, C) as (N, P, groups, C/groups), P pixels an image."""
    return namespace(x).reshape(x, (x.shape[0], math.prod(x.shape[1:-1]), groups, x.shape[-1] // groups))


def _units(x: Array, groups: int, eps: float) -> tuple[Array, Array]:
    """(x - mean)/sqrt(variance + eps) as (N, P, groups, C/groups), and 1/sqrt(variance + eps), which broadcasts to it.
    """
    xp, x = namespace(x), _grouped(full_precision(x), groups)
    centred = x - xp.mean(x, axis=(1, 3), keepdims=True)
    scale = 1.0 / xp.sqrt(xp.mean(centred * centred, axis=(1, 3), keepdims=True) + eps)
    return centred * scale, scale


def _check(name: str, x: Array, gamma: Array, beta: Array, eps: float) -> None:
    check_eps(eps)
    check_image(x, name)
    check_channels(x, name, gamma=gamma, beta=beta)
    check_pixels(x, name)


def _check_group_norm(x: Array, gamma: Array, beta: Array, *, groups: int, eps: float = EPS) -> None:
    _check("group_norm", x, gamma, beta, eps)
    if x.shape[-1] % whole_number(groups, "groups", least=1):
        raise InputError(f"group_norm: {x.shape[-1]} channels do not divide by groups={groups}")


@formula(check=_check_group_norm)
def group_norm(x: Array, gamma: FullPrecisionArray, beta: FullPrecisionArray, *, groups: int,
               eps: float = EPS) -> Array:
    """gamma·(x - mean)/sqrt(variance + eps) + beta, the moments over the pixels and channels of each group.

    x (N, …, C), gamma and beta (C,). A group is C/groups neighbouring channels; the variance is the biased one.
    """
    unit, _ = _units(x, groups, eps)
    return rounded(namespace(x).reshape(unit, tuple(x.shape)) * gamma + beta, x)


@formula
def group_norm_vjp(cotangent: Array, x: Array, gamma: Array, *, groups: int,
                   eps: float = EPS) -> tuple[Array, Array, Array]:
    """The cotangents of x, gamma and beta.

    With the normalized values u, H = gamma·G and means over a group: dL/dx = (H - mean(H) - u·mean(u·H))/sqrt(variance
    + eps).
    """
    xp, axes, shape = namespace(x), tuple(range(x.ndim - 1)), tuple(x.shape)
    unit, scale = _units(x, groups, eps)
    cotangent = full_precision(cotangent)
    back = _grouped(cotangent * gamma, groups)
    along = xp.mean(back * unit, axis=(1, 3), keepdims=True)
    back_x = (back - xp.mean(back, axis=(1, 3), keepdims=True) - unit * along) * scale
    return (rounded(xp.reshape(back_x, shape), x), xp.sum(cotangent * xp.reshape(unit, shape), axis=axes),
            xp.sum(cotangent, axis=axes))


def _check_instance_norm(x: Array, gamma: Array, beta: Array, *, eps: float = EPS) -> None:
    _check("instance_norm", x, gamma, beta, eps)


@formula(check=_check_instance_norm)
def instance_norm(x: Array, gamma: FullPrecisionArray, beta: FullPrecisionArray, *, eps: float = EPS) -> Array:
    """As `group_norm` with a group for each channel."""
    return group_norm(x, gamma, beta, groups=x.shape[-1], eps=eps)


@formula
def instance_norm_vjp(cotangent: Array, x: Array, gamma: Array, *, eps: float = EPS) -> tuple[Array, Array, Array]:
    """The cotangents of x, gamma and beta."""
    return group_norm_vjp(cotangent, x, gamma, groups=x.shape[-1], eps=eps)


def _check_layer_norm(x: Array, gamma: Array, beta: Array, *, over: str, eps: float = EPS) -> None:
    _check("layer_norm", x, gamma, beta, eps)
    if not isinstance(over, str) or over not in ("image", "channels"):
        raise InputError(f"over: expected image or channels, got {shown(over)}")


def _layers(x: Array, over: str) -> Array:
    """x as (N, …, C) for "image", as (N·…, C), every pixel an image, for "channels"."""
    return x if over == "image" else namespace(x).reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


@formula(check=_check_layer_norm)
def layer_norm(x: Array, gamma: FullPrecisionArray, beta: FullPrecisionArray, *, over: str, eps: float = EPS) -> Array:
    """As `group_norm` with one group. over: "image", moments over H, W and C; "channels", over C at each pixel.

    The first form is that of the group-norm paper, the second that of networks with channels last (ConvNeXt).
    """
    out = group_norm(_layers(x, over), gamma, beta, groups=1, eps=eps)
    return namespace(x).reshape(out, tuple(x.shape))


@formula
def layer_norm_vjp(cotangent: Array, x: Array, gamma: Array, *, over: str,
                   eps: float = EPS) -> tuple[Array, Array, Array]:
    """The cotangents of x, gamma and beta."""
    back_x, *others = group_norm_vjp(_layers(cotangent, over), _layers(x, over), gamma, groups=1, eps=eps)
    return namespace(x).reshape(back_x, tuple(x.shape)), *others
