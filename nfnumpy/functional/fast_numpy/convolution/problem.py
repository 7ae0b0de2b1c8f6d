"""A convolution without its arrays, and how it is cut into blocks for the threads."""

import itertools
import math
from typing import NamedTuple

import numpy

from ....backend import blas_threads, blocking, tuning
from ...windows import Windows


class ConvProblem(NamedTuple):
    """A grouped correlation of N images: all that the choice of a strategy and the blocks depend on.

    windows: how the outputs see the image; images: N; groups: runs of channels; fan_in, channels: the inputs seen
    through one tap and the outputs, of one group; itemsize: bytes of a value; threads: how many threads compute;
    dense: whether the outputs are adjacent in memory, which those of one phase among several are not.
    """

    windows: Windows
    images: int
    groups: int
    fan_in: int
    channels: int
    itemsize: int
    threads: int
    dense: bool = True

    @property
    def taps(self) -> int:
        """The number of kernel positions."""
        return math.prod(self.windows.kernel)

    @property
    def row_bytes(self) -> int:
        """The bytes of one window of a group with the outputs computed from it."""
        return (self.taps * self.fan_in + self.channels) * self.itemsize


def conv_problem(windows: Windows, images: int, groups: int, fan_in: int, channels: int, itemsize: int, *,
                 dense: bool = True) -> ConvProblem:
    """The problem on as many threads as its multiply-adds are worth."""
    multiply_adds = images * math.prod(windows.out) * groups * math.prod(windows.kernel) * fan_in * channels
    threads = blas_threads.thread_count() if multiply_adds >= tuning.PARALLEL_MULTIPLY_ADDS else 1
    return ConvProblem(windows, images, groups, fan_in, channels, itemsize, threads, dense)


class Block(NamedTuple):
    """Slices of the images, of the rows of outputs and of the groups of channels."""

    images: slice
    rows: slice
    groups: slice


def plan_blocks(problem: ConvProblem, row_bytes: int, block_bytes: int | None = None,
                out: tuple[int, ...] | None = None) -> list[Block]:
    """Blocks that cover everything: one for each thread or more, each of at most `block_bytes` where that can be.

    A block is some rows of one image or several whole images, of one run of groups. row_bytes: the bytes of a window of
    one group with what is computed from it; block_bytes: None for WINDOW_BLOCK_BYTES; out: (height, width) of what the
    rows are counted in, None for the outputs.
    """
    height, width = problem.windows.out if out is None else out
    windows = max(1, (block_bytes or tuning.WINDOW_BLOCK_BYTES) // row_bytes)
    runs, together = split_groups(problem, windows, height * width)
    outputs = split_outputs(problem, max(1, windows // together), len(runs), (height, width))
    return [Block(images, rows, run) for run in runs for images, rows in outputs]


def split_groups(problem: ConvProblem, windows: int, outputs: int) -> tuple[list[slice], int]:
    """Runs of groups, each for blocks of its own, and how many groups a run has at most.

    windows: how many of a group fit a block; outputs: how many a group has in one image. Narrow groups stay together:
    taken one by one they would fetch the same cache lines again and again.
    """
    groups = problem.groups
    if problem.fan_in < tuning.GROUPED_CHANNELS:
        together = groups
    else:
        together = max(1, min(windows // max(problem.images * outputs, 1), -(-groups // problem.threads)))
    return blocking.split_evenly(groups, -(-groups // together)), together


def split_outputs(problem: ConvProblem, windows: int, runs: int, out: tuple[int, int]) -> list[tuple[slice, slice]]:
    """(images, rows) of the blocks of one run of groups: of at most so many windows, the same number for every thread.
    """
    height, width = out
    pieces = max(-(-problem.images * height * width // windows), -(-problem.threads // runs))
    if runs % problem.threads:
        pieces = -(-pieces // problem.threads) * problem.threads
    if height * width > windows or problem.images < pieces:
        by_row = blocking.split_evenly(height, -(-pieces // max(problem.images, 1)))
        return [(slice(n, n + 1), rows) for n in range(problem.images) for rows in by_row]
    return [(some, slice(0, height)) for some in blocking.split_evenly(problem.images, pieces)]


def chunks_of(plan: list[Block], threads: int) -> list[list[Block]]:
    """The blocks in lists, each of which is added up by one thread: those of a run of groups, or a part of them.

    Lists of the same run follow each other. They are parts only where there are fewer runs than threads.
    """
    runs = [list(blocks) for _, blocks in itertools.groupby(plan, key=lambda block: block.groups.start)]
    return [blocks[piece] for blocks in runs for piece in blocking.split_evenly(len(blocks), -(-threads // len(runs)))]


def channels_of(block: Block, channels: int) -> slice:
    """The channels of a block's groups, of so many each."""
    return slice(block.groups.start * channels, block.groups.stop * channels)


def by_group(image: numpy.ndarray, groups: int, block: Block, rows: slice = slice(None),
             inputs: slice = slice(None)) -> numpy.ndarray:
    """Of an image (N, H, W, groups·C) these rows of a block's images and groups: a view (groups, n, rows, W, C).

    inputs: of the C channels of each group those that are wanted.
    """
    image = image.reshape(*image.shape[:3], groups, -1)
    return image[block.images, rows, :, block.groups, inputs].transpose(3, 0, 1, 2, 4)


def all_finite(array: numpy.ndarray) -> bool:
    """Whether an array has neither infinities nor NaN, in one pass; False too where a sum of its squares overflows.

    Strategies that multiply with zeros which the formula does not have are for finite values only: 0·inf is NaN.
    """
    if not array.flags.c_contiguous:
        return bool(numpy.isfinite(array).all())
    return math.isfinite(numpy.vdot(array, array))  # as `dot`, but without warnings
