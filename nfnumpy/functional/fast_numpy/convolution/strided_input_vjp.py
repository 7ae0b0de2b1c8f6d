"""The way back through a strided convolution with few channels a group: all lattices of pixels in one product.

Pixel stride·u + rest sees tap stride·b + rest through output u - b. So the stride² pixels of a square see the same
square of outputs, and are one product of it with a matrix of all taps, 0 where a lattice has fewer of them. That is
more arithmetic than lattice by lattice (16 to 9 for 3×3 and stride 2), but a fourth of the copying and handing over.
"""

import numpy

from ....backend import buffer_pool, thread_pool, threads, tuning
from .im2col import Correlation, blocks, copy_runs, windows, worth_of
from .gemm import multiply


def suits(seen, x_shape, weight_shape, groups):
    """Whether this way is the faster one, and the image (N, H, W, C) is made of whole squares."""
    down, along = seen.stride
    return down * along > 1 and seen.dilation == (1, 1) and max(weight_shape[2], weight_shape[3] // groups) \
        <= tuning.PHASE_CHANNELS and all(size % stride == before % stride == 0 for size, stride, (before, _) in
                                 zip(x_shape[1:3], seen.stride, seen.padding))


def x_vjp(cotangent, weight, out, seen, groups, parts):
    """Write into `out` (N, H, W, C) the derivative of a convolution with weight (kh, kw, C/groups, O)."""
    (n, height, width, _), (down, along), channels = out.shape, seen.stride, weight.shape[2]
    matrix, taps = _square(weight, seen.stride, groups)
    before = tuple(some - 1 - padding // stride for some, (padding, _), stride in zip(taps, seen.padding, seen.stride))
    correlation = Correlation(taps, (1, 1), (1, 1), before, (height // down, width // along))
    squares = out.reshape(n, height // down, down, width // along, along, groups, channels)
    squares = squares.transpose(5, 0, 1, 3, 2, 4, 6)

    def compute(block):
        rows = windows(cotangent, groups, correlation, block)
        result = scratch.empty("result", (*rows.shape[:2], matrix.shape[2]), out.dtype)
        target = squares[block.groups, block.images, block.rows]
        multiply(rows, matrix[block.groups], result)
        copy_runs(target[..., None, :], result.reshape(target.shape)[..., None, :])

    row_bytes = (matrix.shape[1] + matrix.shape[2]) * out.itemsize
    thread_pool.parallel_map(compute, blocks(correlation, n, groups, matrix.shape[1] // (taps[0] * taps[1]), row_bytes, parts,
                                     worth_of(matrix[0])))


def _square(weight, stride, groups):
    """The taps as a matrix (groups, outputs that a square sees·O/groups, stride²·C/groups), and how many outputs."""
    (kh, kw, channels, out), (down, along) = weight.shape, stride
    taps = -(-kh // down), -(-kw // along)
    matrix = buffer_pool.empty((groups, *taps, out // groups, down, along, channels), weight.dtype)
    matrix[...] = 0.0
    for i, j in numpy.ndindex(kh, kw):
        tap = weight[i, j].reshape(channels, groups, out // groups).transpose(1, 2, 0)
        matrix[:, taps[0] - 1 - i // down, taps[1] - 1 - j // along, :, i % down, j % along] = tap
    return matrix.reshape(groups, -1, down * along * channels), taps
