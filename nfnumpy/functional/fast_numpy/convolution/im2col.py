"""im2col: the windows of an image as rows of a matrix, times the kernel as a matrix. It computes any convolution.

A row has the values of one window, tap by tap; all windows of a block are one matrix, large enough for a fast product
and small enough to stay in the cache.
"""

import numpy
from numpy.lib.stride_tricks import as_strided

from ....backend import blocking, scratch, thread_pool, tuning
from ...windows import Windows
from ..short_rows import add_bias, copy_runs
from .gemm import multiply, multiply_transposed
from .problem import Block, ConvProblem, by_group, channels_of, chunks_of, plan_blocks


def suits(problem: ConvProblem) -> bool:
    """Always."""
    return True


def forward(image: numpy.ndarray, kernel: numpy.ndarray, out: numpy.ndarray, bias: numpy.ndarray | None,
            problem: ConvProblem) -> None:
    """Write into `out` (N, H, W, groups·O) what `image` and `kernel` (groups, taps·C, O) give, plus a bias or None."""
    channels = problem.channels

    def compute(block):
        rows = windows(image, problem, block)
        run = channels_of(block, channels)
        if problem.dense:
            result = out[block.images, block.rows].reshape(-1, problem.groups, channels)[:, block.groups]
        else:
            result = scratch.empty("result", (rows.shape[1], len(rows), channels), out.dtype)
        multiply(rows, kernel[block.groups], result.transpose(1, 0, 2))
        if bias is not None:
            add_bias(result, bias[run])
        if not problem.dense:
            target = out[block.images, block.rows, :, run]
            target[...] = result.reshape(target.shape)

    thread_pool.parallel_map(compute, plan_blocks(problem, problem.row_bytes, block_bytes_for(kernel[0])))


def weight_vjp(cotangent: numpy.ndarray, image: numpy.ndarray, weight: numpy.ndarray, problem: ConvProblem) -> None:
    """Write into `weight` (groups, kh, kw, C, O) the products of all windows with their cotangents, added up."""
    plan = plan_blocks(problem, problem.taps * problem.fan_in * problem.itemsize)
    runs = chunks_of(plan, 1)
    if len(runs) < problem.threads and weight.nbytes <= tuning.THREAD_SUM_BYTES:
        _weight_vjp_by_outputs(cotangent, image, weight, problem, plan)
    else:
        _weight_vjp_by_inputs(cotangent, image, weight, problem, runs)


def _weight_vjp_by_outputs(cotangent, image, weight, problem, plan):
    """Every thread adds up some of the outputs, for a small weight; these sums are added in order."""
    def add_up(chunk):
        return chunk[0].groups, _sum_of_products(cotangent, image, problem, chunk, slice(0, problem.fan_in))

    weight[...] = 0.0
    for groups, total in thread_pool.parallel_map(add_up, chunks_of(plan, problem.threads)):
        target = weight[groups]
        target += total.reshape(target.shape)


def _weight_vjp_by_inputs(cotangent, image, weight, problem, runs):
    """Every thread adds up all outputs, for some of the groups or some of the inputs of each."""
    def add_up(task):
        chunk, inputs = task
        target = weight[chunk[0].groups, :, :, inputs]
        target[...] = _sum_of_products(cotangent, image, problem, chunk, inputs).reshape(target.shape)

    parts = blocking.split_evenly(problem.fan_in, -(-problem.threads // len(runs)))
    thread_pool.parallel_map(add_up, [(run, inputs) for run in runs for inputs in parts])


def _sum_of_products(cotangent, image, problem, chunk, inputs):
    """Σ windowsᵀ·cotangent over the blocks of a chunk: (groups, taps·inputs, O)."""
    values = (inputs.stop - inputs.start) * problem.taps
    groups = chunk[0].groups
    shape = (groups.stop - groups.start, values, problem.channels)
    total = _product(cotangent, image, problem, chunk[0], inputs, numpy.empty(shape, image.dtype))
    for block in chunk[1:]:
        product = scratch.empty("product", shape, image.dtype)
        total += _product(cotangent, image, problem, block, inputs, product)
        del product  # so that the next block has the same memory
    return total


def _product(cotangent, image, problem, block, inputs, out):
    """out ← windowsᵀ·cotangent of one block."""
    rows = windows(image, problem, block, inputs)
    outputs = cotangent[block.images, block.rows].reshape(-1, problem.groups, problem.channels)[:, block.groups]
    return multiply_transposed(rows, outputs.transpose(1, 0, 2), out)


def block_bytes_for(matrix: numpy.ndarray) -> int:
    """The bytes of windows to multiply with a matrix at a time: BLAS packs the matrix anew for every product."""
    return max(tuning.WINDOW_BLOCK_BYTES, 4 * matrix.nbytes)


def windows(image: numpy.ndarray, problem: ConvProblem, block: Block,
            inputs: slice = slice(None)) -> numpy.ndarray:
    """The windows of a block, each a row of its taps' values: (groups, outputs, taps·inputs), of a scratch array.

    inputs: of each group those that are wanted.
    """
    view = window_view(image, problem, block, inputs)
    groups, n, height, width, _, kw, channels = view.shape
    if problem.taps == 1 and view.flags.c_contiguous:
        return view.reshape(groups, n * height * width, channels)
    gathered = scratch.empty("windows", view.shape, image.dtype)
    if problem.windows.dilation[1] == 1:
        runs = (*view.shape[:5], kw * channels)
        copy_runs(gathered.reshape(runs), as_strided(view, runs, (*view.strides[:5], view.itemsize)))
    else:
        numpy.copyto(gathered, view)
    return gathered.reshape(groups, n * height * width, problem.taps * channels)


def window_view(image: numpy.ndarray, problem: ConvProblem, block: Block,
                inputs: slice = slice(None)) -> numpy.ndarray:
    """The same as a view in which pixels stand as often as windows see them: (groups, n, y, x, i, j, inputs)."""
    seen = problem.windows
    framed = _framed(by_group(image, problem.groups, block, inputs=inputs), seen, block.rows)
    group, n, y, x, c = framed.strides
    shape = (*framed.shape[:2], block.rows.stop - block.rows.start, seen.out[1], *seen.kernel, framed.shape[4])
    strides = (group, n, y * seen.stride[0], x * seen.stride[1], y * seen.dilation[0], x * seen.dilation[1], c)
    return as_strided(framed, shape, strides, writeable=False)


def _framed(image: numpy.ndarray, seen: Windows, rows: slice) -> numpy.ndarray:
    """The pixels of an image (groups, N, H, W, C) that these rows of outputs see, contiguous; 0 outside the image."""
    groups, n, height, width, c = image.shape
    vertical = seen.seen(0, rows.start, rows.stop)
    horizontal = seen.seen(1, 0, seen.out[1])
    if vertical == (0, height) and horizontal == (0, width) and image.flags.c_contiguous:
        return image
    shape = (groups, n, vertical[1] - vertical[0], horizontal[1] - horizontal[0], c)
    framed = scratch.empty("framed", shape, image.dtype)
    _fill_frame(framed, image, vertical, horizontal)
    return framed


def _fill_frame(framed, image, vertical, horizontal):
    """Write the part of the image in these ranges of pixels into `framed`."""
    (top, bottom), (left, right) = vertical, horizontal
    height, width = image.shape[2:4]
    inside = image[:, :, max(top, 0):max(0, min(bottom, height)), max(left, 0):max(0, min(right, width))]
    above, beside = max(-top, 0), max(-left, 0)
    below, beyond = above + inside.shape[2], beside + inside.shape[3]
    for margin in (framed[:, :, :above], framed[:, :, below:], framed[:, :, above:below, :beside],
                   framed[:, :, above:below, beyond:]):
        margin[...] = 0.0
    copy_runs(framed[:, :, above:below, beside:beyond, None], inside[..., None, :])
