"""The input gradient of a strided convolution with few channels a group: the stride² output phases in one GEMM.

Pixel stride·u + phase sees tap stride·b + phase through output u - b. So the stride² pixels of a square see the same
square of outputs, and are one product of it with a matrix of all taps, 0 where a phase has fewer of them. That is more
arithmetic than phase by phase (16 to 9 for 3×3 and stride 2), but a fourth of the copying and fewer calls.

The matrix's zeros are multiplied with cotangents that the formula does not multiply with anything, so a cotangent with
infinities or NaN is left to the phases one by one.
"""

import math

import numpy

from ....backend import buffer_pool, scratch, thread_pool, tuning
from ...windows import Windows
from ..short_rows import copy_runs
from .gemm import multiply
from .im2col import block_bytes_for, windows
from .problem import ConvProblem, all_finite, plan_blocks


def suits(problem: ConvProblem) -> bool:
    """Whether groups of the convolution are narrow and its image consists of whole squares of stride² pixels."""
    seen = problem.windows
    if seen.stride == (1, 1) or seen.dilation != (1, 1):
        return False
    if not 1 < max(problem.fan_in, problem.channels) <= tuning.PHASE_CHANNELS:  # of 1: depthwise.py
        return False
    return all(size % stride == before % stride == 0
               for size, stride, before in zip(seen.image, seen.stride, seen.before, strict=True))


def x_vjp(cotangent: numpy.ndarray, weight: numpy.ndarray, out: numpy.ndarray, problem: ConvProblem) -> object:
    """Write into `out` (N, H, W, C) the input gradient of the convolution `problem` with weight (kh, kw, C/groups, O).

    NotImplemented where the cotangent is not finite.
    """
    if not all_finite(cotangent):
        return NotImplemented
    (down, along), groups = problem.windows.stride, problem.groups
    matrix, squares = _of_squares(weight, problem)
    height, width = squares.windows.out
    target = out.reshape(problem.images, height, down, width, along, groups, problem.fan_in)
    target = target.transpose(5, 0, 1, 3, 2, 4, 6)

    def compute(block):
        rows = windows(cotangent, squares, block)
        result = scratch.empty("result", (*rows.shape[:2], matrix.shape[2]), out.dtype)
        part = target[block.groups, block.images, block.rows]
        multiply(rows, matrix[block.groups], result)
        copy_runs(part[..., None, :], result.reshape(part.shape)[..., None, :])

    thread_pool.parallel_map(compute, plan_blocks(squares, squares.row_bytes, block_bytes_for(matrix[0])))
    return None


def _of_squares(weight, problem):
    """The taps as a matrix (groups, outputs that a square sees·O/groups, stride²·C/groups), and the problem it solves.

    That is a correlation of the cotangent whose outputs are squares of pixels.
    """
    (kh, kw), (down, along) = problem.windows.kernel, problem.windows.stride
    kernel = -(-kh // down), -(-kw // along)
    before = tuple(taps - 1 - padding // stride for taps, padding, stride
                   in zip(kernel, problem.windows.before, problem.windows.stride, strict=True))
    out = problem.windows.image[0] // down, problem.windows.image[1] // along
    squares = problem._replace(windows=Windows.with_output(problem.windows.out, kernel, out, before=before),
                               fan_in=problem.channels, channels=down * along * problem.fan_in)
    matrix = buffer_pool.empty((problem.groups, *kernel, problem.channels, down, along, problem.fan_in), weight.dtype)
    matrix[...] = 0.0
    for i, j in numpy.ndindex(kh, kw):
        tap = weight[i, j].reshape(problem.fan_in, problem.groups, problem.channels).transpose(1, 2, 0)
        matrix[:, kernel[0] - 1 - i // down, kernel[1] - 1 - j // along, :, i % down, j % along] = tap
    return matrix.reshape(problem.groups, math.prod(kernel) * problem.channels, squares.channels), squares
