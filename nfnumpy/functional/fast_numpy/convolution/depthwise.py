"""Convolutions of every channel with a kernel of its own: too little arithmetic for matrix products.

`einsum` multiplies and adds in one pass for each tap, and is fast where its inner loop is long. With a stride of 1,
neighbouring columns are one run of memory under every tap: columns·C values, times the tap's C values repeated.

The image gets no frame of zeros: outputs at its edges see fewer taps, and those that see the same ones are computed
together (taps_inside.py). The formula multiplies its zeros with the kernel and with cotangents: where one of these is
infinite or NaN, the convolution is left to im2col. Only the kernel's gradient of many channels has a frame: a column's
values are a long run there, and every part at an edge would add to all of the taps' sums.

The blocks do not depend on the number of threads, and neither do the bits of the results.
"""

import numpy

from ....backend import blocking, buffer_pool, scratch, thread_pool, tuning
from ..short_rows import copy_runs
from .im2col import window_view
from .problem import Block, ConvProblem, all_finite
from .taps_inside import Part, parts_of, runs_of


def suits(problem: ConvProblem) -> bool:
    """Whether every group has one channel, in and out."""
    return problem.fan_in == problem.channels == 1


def forward(image: numpy.ndarray, kernel: numpy.ndarray, out: numpy.ndarray, bias: numpy.ndarray | None,
            problem: ConvProblem) -> object:
    """Write into `out` (N, H, W, C) what `image` and `kernel` (C, taps, 1) give, plus the bias or None.

    NotImplemented where the kernel is not finite.
    """
    taps = numpy.ascontiguousarray(kernel[..., 0].T).reshape(*problem.windows.kernel, -1)
    if not all_finite(taps):
        return NotImplemented
    columns, image = _columns_together(problem), numpy.ascontiguousarray(image)
    taps, is_direct = _repeated(taps, columns), problem.dense or columns == 1

    def compute(block):
        target = out[block]
        result = target if is_direct else scratch.empty("result", target.shape, out.dtype)
        images = image[block[0]]
        for part in _parts(problem, block[1]):
            factors = taps[*part.taps, :part.values[-1]]
            numpy.einsum("nyxijk,ijk->nyxk", part.seen(images), factors, out=part.of(result))
        if not is_direct:
            copy_runs(target[..., None, :], result[..., None, :])
        if bias is not None:
            target += bias

    thread_pool.parallel_map(compute, _blocks(problem))
    return None


def weight_vjp(cotangent: numpy.ndarray, image: numpy.ndarray, weight: numpy.ndarray, problem: ConvProblem) -> object:
    """Write into `weight` (C, kh, kw, 1, 1) the products of all windows with their cotangents, added up.

    NotImplemented where the sums are not finite: every cotangent that sees a pixel has a part in them.
    """
    if not _all_see_pixels(problem.windows) and not all_finite(cotangent):
        return NotImplemented
    image, columns = numpy.ascontiguousarray(image), _columns_together(problem)
    is_wide = problem.groups >= tuning.DEPTHWISE_FRAMED_CHANNELS and problem.windows.stride[1] == 1

    def add_up(block):
        if is_wide:
            return numpy.einsum("nyxijk,nyxk->ijk", _framed_view(image, problem, block), cotangent[block])
        total = scratch.empty("sums", (*problem.windows.kernel, columns * problem.groups), image.dtype)
        total[...] = 0.0
        images, outputs = image[block[0]], cotangent[block]
        for part in _parts(problem, block[1]):
            target = total[*part.taps, :part.values[-1]]
            sums = scratch.empty("sums of a part", target.shape, target.dtype)
            target += numpy.einsum("nyxijk,nyxk->ijk", part.seen(images), part.of(outputs), out=sums)
            del sums  # so that the next part has the same memory
        return total.reshape(*problem.windows.kernel, columns, -1).sum(axis=2)

    total = blocking.reduce_blocks(add_up, _blocks(problem))
    if not all_finite(total):
        return NotImplemented
    weight[..., 0, 0] = total.transpose(2, 0, 1)
    return None


def _all_see_pixels(windows):
    return all(run.taps.start < run.taps.stop for axis in (0, 1) for run in runs_of(windows, axis))


def _blocks(problem: ConvProblem) -> list[tuple[slice, slice]]:
    """(images, rows of outputs) of the blocks: several images, or some rows of one."""
    height, width = problem.windows.out
    products = problem.images * height * width * problem.groups * problem.taps
    pieces = 1
    if products >= tuning.DEPTHWISE_PRODUCTS:
        pieces = 2 * -(-products // (2 * tuning.DEPTHWISE_BLOCK_PRODUCTS))
    if problem.images >= pieces:
        return [(images, slice(0, height)) for images in blocking.split_evenly(problem.images, pieces)]
    by_row = blocking.split_evenly(height, -(-pieces // problem.images))
    return [(slice(n, n + 1), rows) for n in range(problem.images) for rows in by_row]


def _framed_view(image, problem, block):
    """All windows of a block over the image framed by zeros: (n, y, x, i, j, C)."""
    of_one_group = problem._replace(groups=1, fan_in=problem.groups, channels=problem.groups)
    return window_view(image, of_one_group, Block(*block, slice(0, 1)))[0]


def _columns_together(problem):
    """How many columns are one run of values, at most; outputs that are apart are written one by one where C is large.
    """
    if problem.windows.stride[1] > 1 or (not problem.dense and problem.groups >= tuning.LONG_ROW_VALUES):
        return 1
    return min(problem.windows.out[1], max(1, tuning.DEPTHWISE_RUN_VALUES // problem.groups))


def _repeated(taps, columns):
    """(kh, kw, C) with every tap's values so many times: (kh, kw, columns·C)."""
    repeated = buffer_pool.empty((*taps.shape[:2], columns, taps.shape[2]), taps.dtype)
    repeated[...] = taps[:, :, None]
    return repeated.reshape(*taps.shape[:2], -1)


def _parts(problem: ConvProblem, rows: slice) -> tuple[Part, ...]:
    """The parts of these rows of outputs."""
    return parts_of(problem.windows, rows.start, rows.stop, problem.groups, problem.itemsize,
                    _columns_together(problem))
