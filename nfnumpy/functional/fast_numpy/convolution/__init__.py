"""The fast paths of `functional.convolution`: the rule by which a strategy is chosen, by shape alone.

The input gradient is a convolution too: its stride² phases are correlations of the cotangent with some of the kernel's
taps each (functional/windows.py, `Windows.transposed`), and go by the same rule.

Formulas: functional/convolution.py. Tests: fast_numpy/test_convolution.py, test_implicit_im2col.py, test_winograd.py,
test_depthwise.py, test_strided_input_vjp.py, test_not_finite.py.
"""

import itertools
import math
from typing import Any

import numpy

from ....backend import buffer_pool, thread_pool, tuning
from ... import convolution as formulas
from ...windows import Windows
from ..dtypes import share_float_dtype
from . import depthwise, im2col, implicit_im2col, strided_input_vjp, winograd
from .problem import ConvProblem, all_finite, conv_problem

# The first strategy computes a convolution that `suits(problem)` and does not return NotImplemented for its values:
# `forward` writes its outputs, `weight_vjp` the gradient of its kernel. The last one computes any convolution.
STRATEGIES = (winograd, depthwise, implicit_im2col, im2col)


def forward(image: numpy.ndarray, kernel: numpy.ndarray, out: numpy.ndarray, bias: numpy.ndarray | None,
            problem: ConvProblem) -> None:
    """Write into `out` (N, H, W, groups·O) what `image` and `kernel` (groups, taps·C, O) give, plus a bias or None."""
    for strategy in STRATEGIES:
        if strategy.suits(problem) and strategy.forward(image, kernel, out, bias, problem) is not NotImplemented:
            return


def weight_vjp(cotangent: numpy.ndarray, image: numpy.ndarray, weight: numpy.ndarray, problem: ConvProblem) -> None:
    """Write into `weight` (groups, kh, kw, C, O) the products of all windows with their cotangents, added up."""
    for strategy in STRATEGIES:
        if strategy.suits(problem) and strategy.weight_vjp(cotangent, image, weight, problem) is not NotImplemented:
            return


def _covers(*arrays):
    return share_float_dtype(*arrays) and all(array.size for array in arrays)


def _problem_of(windows: Windows, images: int, weight_shape: tuple[int, ...], groups: int,
                itemsize: int) -> ConvProblem:
    _, _, fan_in, out = weight_shape
    return conv_problem(windows, images, groups, fan_in, out // groups, itemsize)


@formulas.conv2d.fast_path("numpy")
def conv2d(x: numpy.ndarray, weight: numpy.ndarray, bias: numpy.ndarray | None = None, *, groups: int = 1,
           **geometry: Any) -> numpy.ndarray:
    """A correlation of the image with the kernel."""
    windows = formulas.conv2d_windows(x.shape, weight.shape, groups=groups, **geometry)
    groups = int(groups)
    if not _covers(x, weight):
        return NotImplemented
    if bias is not None and (bias.dtype != x.dtype or bias.shape != weight.shape[3:]):
        return NotImplemented
    kh, kw, fan_in, channels = weight.shape
    out = buffer_pool.empty((x.shape[0], *windows.out, channels), x.dtype)
    kernel = weight.reshape(kh * kw * fan_in, groups, channels // groups).transpose(1, 0, 2)
    forward(x, kernel, out, bias, _problem_of(windows, len(x), weight.shape, groups, x.itemsize))
    return out


@formulas.conv2d_weight_vjp.fast_path("numpy")
def conv2d_weight_vjp(cotangent: numpy.ndarray, x: numpy.ndarray, weight_shape: tuple[int, ...], *, groups: int = 1,
                      **geometry: Any) -> numpy.ndarray:
    """The product of all windows with the cotangents of their outputs."""
    windows = formulas.conv2d_windows(x.shape, weight_shape, groups=groups, **geometry)
    groups = int(groups)
    if not _covers(cotangent, x):
        return NotImplemented
    kh, kw, fan_in, _ = weight_shape
    weight = buffer_pool.empty(tuple(weight_shape), x.dtype)
    by_group = weight.reshape(kh, kw, fan_in, groups, -1).transpose(3, 0, 1, 2, 4)
    problem = _problem_of(windows, len(x), weight_shape, groups, x.itemsize)
    weight_vjp(numpy.ascontiguousarray(cotangent), x, by_group, problem)
    return weight


@formulas.conv2d_x_vjp.fast_path("numpy")
def conv2d_x_vjp(cotangent: numpy.ndarray, weight: numpy.ndarray, x_shape: tuple[int, ...], *, groups: int = 1,
                 **geometry: Any) -> numpy.ndarray:
    """A correlation of the cotangent for every phase of pixels, or for all at once."""
    windows = formulas.conv2d_windows(x_shape, weight.shape, groups=groups, **geometry)
    groups = int(groups)
    if not _covers(cotangent, weight) or not math.prod(x_shape):
        return NotImplemented
    out = buffer_pool.empty(tuple(x_shape), cotangent.dtype)
    problem = _problem_of(windows, len(cotangent), weight.shape, groups, cotangent.itemsize)
    at_once = strided_input_vjp.suits(problem)
    if not at_once or strided_input_vjp.x_vjp(cotangent, weight, out, problem) is NotImplemented:
        _x_vjp_by_phase(cotangent, weight, out, problem)
    return out if _kernel_is_finite(weight, out, windows) else NotImplemented


def _kernel_is_finite(weight, out, windows):
    """Whether no value of the kernel is infinite or NaN; False too where some cotangents are.

    Outputs outside the cotangent are zeros here, which the formula does not multiply with the kernel. A pixel that all
    outputs around it see shows by its gradient whether the kernel is finite.
    """
    if windows.kernel == (1, 1):
        return True
    pixels = _pixels_under_all_taps(windows)
    return all_finite(weight if pixels is None else out[0, *pixels])


def _pixels_under_all_taps(windows: Windows) -> tuple[slice, ...] | None:
    """stride² neighbouring pixels, to which every tap belongs at some output; None where the image is too small."""
    pixels = []
    for axis, stride in enumerate(windows.stride):
        before = windows.before[axis]
        first = max((windows.kernel[axis] - 1) * windows.dilation[axis], before)  # on the padded axis
        last = first + stride - 1
        if last > (windows.out[axis] - 1) * stride or last - before >= windows.image[axis]:
            return None
        pixels.append(slice(first - before, last - before + 1))
    return tuple(pixels)


def _x_vjp_by_phase(cotangent, weight, out, problem):
    """Write into `out` (N, H, W, C) the input gradient, phase by phase."""
    for phase in itertools.product(*map(range, problem.windows.stride)):
        pixels, taps, windows = problem.windows.transposed(phase)
        target = out[:, *pixels]
        if not target.size:
            continue
        if all(taps):
            transposed = conv_problem(windows, problem.images, problem.groups, problem.channels, problem.fan_in,
                                      problem.itemsize, dense=target.flags.c_contiguous)
            forward(cotangent, _phase_kernel(weight, taps, problem), target, None, transposed)
        else:
            target[...] = 0.0


def _phase_kernel(weight: numpy.ndarray, taps: tuple[list[int], list[int]], problem: ConvProblem) -> numpy.ndarray:
    """These taps of the weight (kh, kw, in, out) with inputs and outputs exchanged: (groups, taps·out/groups, in)."""
    fan_in, groups, channels = problem.fan_in, problem.groups, problem.channels
    down, along = taps
    if len(down) == len(along) == 1:
        return weight[down[0], along[0]].reshape(fan_in, groups, channels).transpose(1, 2, 0)
    turned = buffer_pool.empty((groups, len(down) * len(along), channels, fan_in), weight.dtype)

    def turn(tap):
        source = weight[down[tap // len(along)], along[tap % len(along)]]
        turned[:, tap] = source.reshape(fan_in, groups, channels).transpose(1, 2, 0)

    if weight.size >= tuning.PARALLEL_VALUES:
        thread_pool.parallel_map(turn, range(turned.shape[1]))
    else:
        for tap in range(turned.shape[1]):
            turn(tap)
    return turned.reshape(groups, -1, fan_in)
