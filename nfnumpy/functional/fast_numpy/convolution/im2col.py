"""What convolution and its way back are made of: windows of an image, gathered in rows, times a matrix.

A row has the values of one window, tap by tap; all windows of a block of images are one matrix, large enough for a
fast product and small enough to stay in the cache. Blocks and groups of channels are shared out to our threads.
"""

import dataclasses
import itertools
import math

import numpy
from numpy.lib.stride_tricks import as_strided

from ....backend import blocking, threads, tuning


@dataclasses.dataclass(frozen=True)
class Correlation:
    """out[n, y, x] = Σ_{i, j} image[n, y·step + i·spacing - before, …]·kernel[i, j], where outside of the image is 0.

    All are (vertical, horizontal) pairs; `taps` is how many there are of i and j, `out` of y and x.
    """

    taps: tuple
    step: tuple
    spacing: tuple
    before: tuple
    out: tuple

    def seen(self, axis, start, stop):
        """The range (first, last + 1) of pixels that outputs start … stop - 1 along `axis` see; may leave the image."""
        first = start * self.step[axis] - self.before[axis]
        return first, first + (stop - start - 1) * self.step[axis] + (self.taps[axis] - 1) * self.spacing[axis] + 1


@dataclasses.dataclass(frozen=True)
class Block:
    """Slices of the images, of the rows of output and of the groups of channels."""

    images: slice
    rows: slice
    groups: slice


def blocks(correlation, images, groups, channels, row_bytes, parts, block_bytes=None):
    """Blocks that cover everything: `parts` or more, where there is enough to do, each of some tuning.WINDOW_BLOCK_BYTES at most.

    channels, row_bytes: the inputs of a group, and the bytes of one of its windows with what comes of it. A block is
    some rows of one image or several whole images, of one group, or of several where these are small; of all where
    groups are so narrow that taking them one by one would fetch the same lines of memory again and again.
    """
    (height, width), most = correlation.out, max(1, (block_bytes or tuning.WINDOW_BLOCK_BYTES) // row_bytes)
    outputs = images * height * width
    together = groups if channels < tuning.GROUPED_CHANNELS else max(1, min(most // max(outputs, 1), -(-groups // parts)))
    runs, most = blocking.split_evenly(groups, -(-groups // together)), max(1, most // together)
    pieces = max(-(-outputs // most), -(-parts // len(runs)))
    if len(runs) % parts:
        pieces = -(-pieces // parts) * parts  # as much to do for every thread
    if height * width > most or images < pieces:
        by_row = blocking.split_evenly(height, -(-pieces // max(images, 1)))
        return [Block(slice(n, n + 1), rows, run) for run in runs for n in range(images) for rows in by_row]
    return [Block(some, slice(0, height), run) for run in runs for some in blocking.split_evenly(images, pieces)]


def worth_of(matrix):
    """How many bytes of windows to multiply with a matrix at a time: BLAS orders it anew for every product."""
    return max(tuning.WINDOW_BLOCK_BYTES, 4 * matrix.nbytes)


def chunks_of(plan, parts):
    """The blocks in lists that can be added up side by side: those of a run of groups, or some of them for a thread.

    Lists of the same run follow each other. Only where there are fewer runs than threads are they cut.
    """
    runs = [list(some) for _, some in itertools.groupby(plan, key=lambda block: block.groups.start)]
    return [some[piece] for some in runs for piece in blocking.split_evenly(len(some), -(-parts // len(runs)))]


def windows(image, groups, correlation, block, channels=slice(None)):
    """The windows of a block, each a row of its taps' values: (groups, outputs, taps·channels). Valid until next time.

    image (N, H, W, C), its channels in so many `groups`, of each of which these `channels` are wanted.
    """
    view = window_view(image, groups, correlation, block, channels)
    groups, n, height, width, *_, channels = view.shape
    kernel = math.prod(correlation.taps)
    if kernel == 1 and view.flags.c_contiguous:
        return view.reshape(groups, n * height * width, channels)
    gathered = scratch.empty("windows", view.shape, image.dtype)
    if correlation.spacing[1] == 1:
        runs = (*view.shape[:5], correlation.taps[1] * channels)
        copy_runs(gathered.reshape(runs), as_strided(view, runs, (*view.strides[:5], view.itemsize)))
    else:
        numpy.copyto(gathered, view)
    return gathered.reshape(groups, n * height * width, kernel * channels)


def window_view(image, groups, correlation, block, channels=slice(None)):
    """The same as a view in which pixels stand as often as windows see them: (groups, n, y, x, i, j, channels)."""
    (down, along), width = correlation.step, correlation.out[1]
    image = image.reshape(*image.shape[:3], groups, -1)[block.images, :, :, block.groups, channels]
    framed = _framed(image.transpose(3, 0, 1, 2, 4), correlation.seen(0, block.rows.start, block.rows.stop),
                     correlation.seen(1, 0, width))
    group, n, y, x, c = framed.strides
    return as_strided(framed, (*framed.shape[:2], block.rows.stop - block.rows.start, width, *correlation.taps,
                               framed.shape[4]),
                      (group, n, y * down, x * along, y * correlation.spacing[0], x * correlation.spacing[1], c),
                      writeable=False)


def copy_runs(target, source):
    """target[...] = source, (…, rows, values): NumPy starts a loop for every run of values, which costs as much as 20.

    Short runs are copied as single items of their length instead, so that the loop is over their neighbours.
    """
    size = source.shape[-1] * source.itemsize
    if size > tuning.LONG_RUN_BYTES or source.strides[-1] != source.itemsize:
        numpy.copyto(target, source)
        return
    target, source = (array.view(f"V{size}")[..., 0] for array in (target, source))
    for row in range(source.shape[-1]):
        target[..., row] = source[..., row]


def _framed(image, vertical, horizontal):
    """The part of the image (groups, N, H, W, C) in these ranges of pixels, side by side; 0 where they leave it."""
    groups, n, height, width, c = image.shape
    shape = (groups, n, vertical[1] - vertical[0], horizontal[1] - horizontal[0], c)
    if vertical == (0, height) and horizontal == (0, width) and image.flags.c_contiguous:
        return image
    framed = scratch.empty("framed", shape, image.dtype)
    fill_frame(framed, image, vertical, horizontal)
    return framed


def fill_frame(framed, image, vertical, horizontal):
    """Write that part of the image into `framed`."""
    (top, bottom), (left, right), (_, _, height, width, _) = vertical, horizontal, image.shape
    seen = image[:, :, max(top, 0):max(0, min(bottom, height)), max(left, 0):max(0, min(right, width))]
    above, beside = max(-top, 0), max(-left, 0)
    below, beyond = above + seen.shape[2], beside + seen.shape[3]
    for margin in (framed[:, :, :above], framed[:, :, below:], framed[:, :, above:below, :beside],
                   framed[:, :, above:below, beyond:]):
        margin[...] = 0.0
    copy_runs(framed[:, :, above:below, beside:beyond, None], seen[..., None, :])


def add_bias(result, bias):
    """result (outputs, groups, channels) += bias (groups·channels,), several outputs at a time where they are short."""
    if len(bias) < tuning.LONG_ROW_VALUES and result.flags.c_contiguous:
        together = math.gcd(len(result), 1 << (tuning.LONG_ROW_VALUES // len(bias)).bit_length())
        result, bias = result.reshape(len(result) // together, -1), numpy.tile(bias, together)
        result += bias
    else:
        result += bias.reshape(result.shape[1:])
