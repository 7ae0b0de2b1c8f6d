"""Implicit im2col, for stride 1 and few channels a group: rows of windows where they lie (overlapping_rows.py).

Each row of the kernel contributes one GEMM over all positions; results on padding positions are discarded.

BLAS is slow where a product has 8 columns. Groups of so few outputs are computed for two neighbours together: kw + 1
pixels from every other one on, times a matrix that has the kernel's row twice, next to each other, the second a pixel
further down, and zeros elsewhere. That is (kw + 1)/kw of the arithmetic at twice the rate, and two matrices instead of
kw. The product for the weight's gradient has its row twice in the same way, and both are added up.

Both the zeros of that matrix and those that stand for padding positions in the weight's gradient are multiplied with
pixels that the formula does not multiply with anything. Images with an infinity or NaN are therefore left to im2col.
"""

import numpy

from ....backend import scratch, thread_pool, tuning
from ..short_rows import add_bias, copy_runs
from .gemm import multiply, multiply_transposed
from .overlapping_rows import fill_outputs, fill_rows, pick_outputs, row_layout, row_matrices
from .problem import ConvProblem, all_finite, by_group, channels_of, chunks_of, plan_blocks


def suits(problem: ConvProblem) -> bool:
    """Whether the stride is 1, groups are narrow, and the padding is a small part of the outputs."""
    seen = problem.windows
    if not problem.dense or seen.stride != (1, 1) or seen.dilation != (1, 1) or seen.kernel[1] == 1:
        return False
    if problem.fan_in > tuning.IMPLICIT_CHANNELS:
        return False
    return (problem.fan_in * _outputs_together(problem) >= tuning.IMPLICIT_FEWEST_CHANNELS
            and all(out >= tuning.IMPLICIT_OUTPUTS_PER_TAP * (taps - 1)
                    for out, taps in zip(seen.out, seen.kernel, strict=True)))


def _outputs_together(problem):
    """How many neighbouring outputs are computed together."""
    return 2 if problem.channels * problem.itemsize <= tuning.PAIRED_OUTPUT_BYTES else 1


def _plan(problem):
    row_bytes = (problem.fan_in + problem.windows.kernel[0] * problem.channels) * problem.itemsize
    return plan_blocks(problem, row_bytes)


def _banded(kernel, problem, together):
    """The matrices (groups, kh, 1, width·C, together·O) of a kernel's rows: the k-th O columns see from pixel k on."""
    (kh, kw), channels = problem.windows.kernel, problem.channels
    by_tap = kernel.reshape(problem.groups, kh, kw, problem.fan_in, channels)
    banded = numpy.zeros((problem.groups, kh, kw + together - 1, problem.fan_in, together, channels), kernel.dtype)
    for k in range(together):
        banded[:, :, k:k + kw, :, k] = by_tap
    return banded.reshape(problem.groups, kh, 1, -1, together * channels)


def forward(image: numpy.ndarray, kernel: numpy.ndarray, out: numpy.ndarray, bias: numpy.ndarray | None,
            problem: ConvProblem) -> object:
    """Write into `out` (N, H, W, groups·O) what `image` and `kernel` (groups, taps·C, O) give, plus a bias or None.

    NotImplemented where two outputs are computed together and the image is not finite.
    """
    groups, channels, kh = problem.groups, problem.channels, problem.windows.kernel[0]
    together = _outputs_together(problem)
    by_row = _banded(kernel, problem, together)

    def compute(block):
        layout = row_layout(problem, block, together)
        buffer = fill_rows(layout, image, problem, block)
        if together > 1 and not all_finite(buffer):
            return False
        of_group = len(buffer)
        shape = (of_group, kh, layout.rows, layout.shifts, together * channels)
        sums = scratch.empty("sums of rows", shape, out.dtype)
        multiply(row_matrices(layout, buffer, problem), by_row[block.groups], sums.transpose(0, 1, 3, 2, 4))
        total = sums[:, 0]
        for row in range(1, kh):
            total += sums[:, row]
        found = pick_outputs(layout, total.reshape(of_group, -1, channels))
        copy_runs(by_group(out, groups, block, block.rows)[..., None, :], found[..., None, :])
        if bias is not None:
            target = out[block.images, block.rows].reshape(-1, groups, channels)[:, block.groups]
            add_bias(target, bias[channels_of(block, channels)])
        return True

    return None if all(thread_pool.parallel_map(compute, _plan(problem))) else NotImplemented


def weight_vjp(cotangent: numpy.ndarray, image: numpy.ndarray, weight: numpy.ndarray, problem: ConvProblem) -> object:
    """Write into `weight` (groups, kh, kw, C, O) the products of all windows with their cotangents, added up.

    NotImplemented where the sums are not finite, as every pixel that is not has a part in them.
    """
    together = _outputs_together(problem)
    kw = problem.windows.kernel[1]

    def add_up(chunk):
        total = 0.0
        for block in chunk:
            total = total + _sum_of_products(cotangent, image, problem, block, together)
        return total

    chunks = chunks_of(_plan(problem), problem.threads)
    totals = thread_pool.parallel_map(add_up, chunks)
    if not all(all_finite(total) for total in totals):
        return NotImplemented
    weight[...] = 0.0
    for chunk, total in zip(chunks, totals, strict=True):
        for k in range(together):
            weight[chunk[0].groups] += total[:, :, k:k + kw, :, k]
    return None


def _sum_of_products(cotangent, image, problem, block, together):
    """Σ rowsᵀ·cotangent of a block: (groups, kh, width, C, together, O)."""
    layout = row_layout(problem, block, together)
    buffer = fill_rows(layout, image, problem, block)
    rows = row_matrices(layout, buffer, problem)
    of_group, kh, shifts, count, values = rows.shape
    columns = together * problem.channels
    outputs = fill_outputs(layout, by_group(cotangent, problem.groups, block, block.rows))
    outputs = outputs.reshape(of_group, 1, count, shifts, columns).transpose(0, 1, 3, 2, 4)
    outputs = numpy.broadcast_to(outputs, (of_group, kh, shifts, count, columns))
    product = scratch.empty("product", (of_group, kh, shifts, values, columns), image.dtype)
    total = multiply_transposed(rows, outputs, product).sum(axis=2)
    return total.reshape(of_group, kh, layout.width, problem.fan_in, together, problem.channels)
