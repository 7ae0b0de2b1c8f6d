"""Convolutions of every channel with a kernel of its own: too little arithmetic for matrix products.

One einsum adds up all taps, reading each pixel where it lies; its innermost loop runs along the channels.
"""

import numpy

from ....backend import blocking, thread_pool
from .im2col import window_view
from .problem import ConvProblem, chunks_of, plan_blocks


def suits(problem: ConvProblem) -> bool:
    """Whether every group has one channel, in and out."""
    return problem.fan_in == problem.channels == 1


def _of_all_channels(problem):
    """The problem with all channels in one group, and its blocks: a row is a pixel of the image and of the result."""
    problem = problem._replace(groups=1, fan_in=problem.groups, channels=problem.groups)
    return problem, plan_blocks(problem, 2 * problem.channels * problem.itemsize)


def forward(image: numpy.ndarray, kernel: numpy.ndarray, out: numpy.ndarray, bias: numpy.ndarray | None,
            problem: ConvProblem) -> None:
    """Write into `out` (N, H, W, C) what `image` and `kernel` (C, taps, 1) give, plus the bias or None."""
    taps = numpy.ascontiguousarray(kernel[..., 0].T).reshape(*problem.windows.kernel, -1)
    problem, plan = _of_all_channels(problem)

    def compute(block):
        view = window_view(image, problem, block)[0]
        target = out[block.images, block.rows]
        numpy.einsum("nyxijc,ijc->nyxc", view, taps, out=target)
        if bias is not None:
            target += bias

    thread_pool.parallel_map(compute, plan)


def weight_vjp(cotangent: numpy.ndarray, image: numpy.ndarray, weight: numpy.ndarray, problem: ConvProblem) -> None:
    """Write into `weight` (C, kh, kw, 1, 1) the products of all windows with their cotangents, added up."""
    problem, plan = _of_all_channels(problem)

    def add_up(chunk):
        total = numpy.zeros((*problem.windows.kernel, problem.channels), dtype=image.dtype)
        for block in chunk:
            total += numpy.einsum("nyxijc,nyxc->ijc", window_view(image, problem, block)[0],
                                  cotangent[block.images, block.rows])
        return total

    total = blocking.reduce_blocks(add_up, chunks_of(plan, problem.threads))
    weight[..., 0, 0] = total.transpose(2, 0, 1)
