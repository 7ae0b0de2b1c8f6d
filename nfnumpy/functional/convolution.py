"""Two-dimensional convolution (cross-correlation, as networks have it), written as one matrix product a kernel tap.

Shapes: x (N, H, W, in), weight (kh, kw, in/groups, out), bias (out,) or None -> (N, out_h, out_w, out). Input channels
and output channels are cut into `groups` equal runs, and run g of the output sees run g of the input only.
`stride` and `dilation` are numbers or (vertical, horizontal) pairs; `padding` as `windows.padding_of` takes it.

Used by: ops.py. Fast paths: fast_numpy/convolution/, fast_cupy/convolution.py. Kernels: convolution.cu, bias.cu,
depthwise_convolution.cu, implicit_convolution.cu.
Test: reference_tests/functional/test_convolution.py, fast_numpy/test_convolution.py, kernels/test_convolution.py.
"""

import math

from ..backend import formula, namespace
from ..backend.arrays import Array
from ..errors import InputError
from .checks import Shape, Size, whole_number
from .linear import check_bias
from .windows import Padding, Windows, windows_of


def conv2d_windows(x_shape: Shape, weight_shape: Shape, *, stride: Size = 1, padding: Padding = "SAME",
                   dilation: Size = 1, groups: int = 1) -> Windows:
    """The geometry of a convolution; InputError when the shapes do not belong together."""
    if len(x_shape) != 4 or len(weight_shape) != 4:
        raise InputError(f"conv2d: expected x (N, H, W, in) and weight (kh, kw, in/groups, out), got {tuple(x_shape)} "
                         f"and {tuple(weight_shape)}")
    groups = whole_number(groups, "groups", least=1)
    if weight_shape[3] % groups or weight_shape[2] * groups != x_shape[3]:
        raise InputError(f"conv2d: x {tuple(x_shape)} and weight {tuple(weight_shape)} do not fit groups={groups}: "
                         f"expected weight (kh, kw, {x_shape[3]}/groups, a multiple of groups)")
    return windows_of(x_shape[1:3], weight_shape[:2], stride=stride, padding=padding, dilation=dilation)


def _by_group(values: Array, groups: int) -> Array:
    """(…, C) as (groups, M, C/groups): M positions, cut into runs of channels."""
    xp, channels = namespace(values), values.shape[-1]
    positions = math.prod(values.shape[:-1])
    return xp.permute_dims(xp.reshape(values, (positions, groups, channels // groups)), (1, 0, 2))


def _from_groups(values: Array, shape: Shape) -> Array:
    """The inverse of `_by_group`: (groups, M, C/groups) as `shape`."""
    xp = namespace(values)
    return xp.reshape(xp.permute_dims(values, (1, 0, 2)), shape)


def _kernel_by_group(tap: Array, groups: int) -> Array:
    """One tap (in/groups, out) as (groups, in/groups, out/groups)."""
    xp, (fan, out) = namespace(tap), tap.shape
    return xp.permute_dims(xp.reshape(tap, (fan, groups, out // groups)), (1, 0, 2))


@formula
def conv2d(x: Array, weight: Array, bias: Array | None = None, *, stride: Size = 1, padding: Padding = "SAME",
           dilation: Size = 1, groups: int = 1) -> Array:
    """out[n, y, x, o] = bias[o] + Σ_{i, j, c} x[n, y·s + i·d - top, x·s + j·d - left, c] · weight[i, j, c, o]."""
    windows = conv2d_windows(x.shape, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups)
    check_bias(bias, weight.shape[3], "conv2d")
    xp = namespace(x)
    padded = windows.pad(x)
    shape = (x.shape[0], *windows.out, weight.shape[3])
    out = xp.zeros(shape, dtype=x.dtype)
    for (i, j), index in windows.taps():
        tap = _kernel_by_group(weight[i, j, :, :], groups)
        out += _from_groups(xp.matmul(_by_group(padded[index], groups), tap), shape)
    return out if bias is None else out + bias


@formula
def conv2d_x_vjp(cotangent: Array, weight: Array, x_shape: Shape, *, stride: Size = 1, padding: Padding = "SAME",
                 dilation: Size = 1, groups: int = 1) -> Array:
    """The cotangent of x: every tap sends its share to the pixels it read."""
    windows = conv2d_windows(x_shape, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups)
    xp, by_group = namespace(weight), _by_group(cotangent, groups)
    padded = windows.padded_zeros(cotangent, x_shape[0], x_shape[3])
    shape = (x_shape[0], *windows.out, x_shape[3])
    for (i, j), index in windows.taps():
        tap = xp.permute_dims(_kernel_by_group(weight[i, j, :, :], groups), (0, 2, 1))
        padded[index] += _from_groups(xp.matmul(by_group, tap), shape)
    return windows.crop(padded)


@formula
def conv2d_weight_vjp(cotangent: Array, x: Array, weight_shape: Shape, *, stride: Size = 1, padding: Padding = "SAME",
                      dilation: Size = 1, groups: int = 1) -> Array:
    """The cotangent of the weight: per tap, the product of what it read with the cotangent of what it wrote."""
    windows = conv2d_windows(x.shape, weight_shape, stride=stride, padding=padding, dilation=dilation, groups=groups)
    xp, padded, by_group = namespace(x), windows.pad(x), _by_group(cotangent, groups)
    weight = xp.zeros(tuple(weight_shape), dtype=x.dtype)
    for (i, j), index in windows.taps():
        seen = xp.permute_dims(_by_group(padded[index], groups), (0, 2, 1))
        weight[i, j, :, :] = _from_groups(xp.matmul(seen, by_group), tuple(weight_shape[2:]))
    return weight
