"""Rows of windows where they lie: the padded lines of an image, end to end in one buffer, seen as matrices.

Two lines a … e and f … j of five pixels, with a padding of 1 (·), and kw = 3. The padding after a line is that before
the next, so that a line takes 6 positions:

    position    0 1 2 3 4 5 6 7 8 9 …
    buffer      · a b c d e · f g h i j ·
    shift 0    [· a b|c d e|· f g|h i j]
    shift 1      [a b c|d e ·|f g h|i j ·]
    shift 2        [b c d|e · f|g h i|j · …

The window of the output at position p begins there: its row of pixels is buffer[p : p + kw]. Rows that begin at every
kw-th position do not overlap: they are a matrix without copying, and kw shifts of it have all rows. (e · f), at
position 5, belongs to no output; what is computed from it is discarded.

Where two neighbouring outputs are computed together, a row has the kw + 1 pixels that both see and begins at every
other position, so that there are (kw + 1)/2 shifts. Positions are counted through all lines, so the two may lie on
different lines.
"""

import math
from typing import NamedTuple

import numpy
from numpy.lib.stride_tricks import as_strided

from ....backend import scratch
from ..short_rows import copy_runs
from .problem import Block, ConvProblem, by_group


class RowLayout(NamedTuple):
    """The sizes of a block's buffer, in positions.

    lines, columns: slices of the image's axes that the block's outputs see; frame: images, lines from an image to the
    next, positions from a line to the next; outputs: rows and columns of outputs in an image; start: the position of
    the first pixel; together: outputs computed together, whose rows have `width` pixels; shifts: matrices; rows: how
    many each has.
    """

    lines: slice
    columns: slice
    frame: tuple[int, int, int]
    outputs: tuple[int, int]
    start: int
    together: int
    width: int
    shifts: int
    rows: int

    @property
    def positions(self) -> int:
        """How many positions have a row in one of the matrices: those of the frame, and a few more."""
        return self.rows * self.shifts * self.together


def row_layout(problem: ConvProblem, block: Block, together: int) -> RowLayout:
    """The layout of a block for so many outputs computed `together`."""
    seen = problem.windows
    images = block.images.stop - block.images.start
    outputs = block.rows.stop - block.rows.start, seen.out[1]
    lines, top, height = _axis_layout(seen.seen(0, block.rows.start, block.rows.stop), seen.image[0], outputs[0])
    columns, left, line = _axis_layout(seen.seen(1, 0, seen.out[1]), seen.image[1], outputs[1])
    frame = (images, outputs[0] if images == 1 else height, line)
    width = seen.kernel[1] + together - 1
    shifts = -(-width // together)
    rows = -(-math.prod(frame) // (shifts * together))
    return RowLayout(lines, columns, frame, outputs, top * line + left, together, width, shifts, rows)


def _axis_layout(seen, length, outputs):
    """Of an axis: the slice of its `length` pixels that are seen, the zeros before it, the pixels from one to the next.

    The zeros after the pixels of a line (or image) are those before the next one's.
    """
    first, last = seen
    part = slice(max(first, 0), max(0, min(last, length)))
    before, after = max(-first, 0), max(last - length, 0)
    return part, before, max(outputs, part.stop - part.start + max(before, after))


def fill_rows(layout: RowLayout, image: numpy.ndarray, problem: ConvProblem, block: Block) -> numpy.ndarray:
    """The buffer of a block (groups, size, C), with its pixels and zeros around them; valid until the next call."""
    kh, kw = problem.windows.kernel
    image = by_group(image, problem.groups, block)[:, :, layout.lines, layout.columns]
    groups, n, height, _, channels = image.shape
    _, lines, line = layout.frame
    frame = (n, height if n == 1 else lines, line)
    size = max(layout.positions + kw - 1 + (kh - 1) * line, layout.start + math.prod(frame))
    buffer = scratch.empty("flat", (groups, size, channels), image.dtype)
    _lay_out(buffer, layout.start, frame, image)
    return buffer


def row_matrices(layout: RowLayout, buffer: numpy.ndarray, problem: ConvProblem) -> numpy.ndarray:
    """The matrices of a filled buffer, for each row of the kernel: a view (groups, kh, shifts, count, width·C)."""
    groups, _, channels = buffer.shape
    group, position, value = buffer.strides
    line = layout.frame[2]
    step = layout.together * position
    shape = (groups, problem.windows.kernel[0], layout.shifts, layout.rows, layout.width * channels)
    strides = (group, line * position, step, layout.shifts * step, value)
    return as_strided(buffer, shape, strides, writeable=False)


def fill_outputs(layout: RowLayout, image: numpy.ndarray) -> numpy.ndarray:
    """Values for all positions (groups, positions, C): `image` (groups, n, y, x, C) at outputs, 0 elsewhere."""
    buffer = scratch.empty("laid out", (len(image), layout.positions, image.shape[-1]), image.dtype)
    _lay_out(buffer, 0, layout.frame, image)
    return buffer


def pick_outputs(layout: RowLayout, values: numpy.ndarray) -> numpy.ndarray:
    """Of values for all positions (groups, positions, C) those at outputs: a view (groups, n, y, x, C)."""
    framed = values[:, :math.prod(layout.frame)].reshape(len(values), *layout.frame, -1)
    return framed[:, :, :layout.outputs[0], :layout.outputs[1]]


def _lay_out(buffer, start, frame, image):
    """Write (groups, N, H, W, C) into `buffer` (groups, size, C), from position `start` on, and 0 around it."""
    (groups, _, height, width, channels), stop = image.shape, start + math.prod(frame)
    framed = buffer[:, start:stop].reshape(groups, *frame, channels)
    for margin in (buffer[:, :start], buffer[:, stop:], framed[:, :, height:], framed[:, :, :height, width:]):
        margin[...] = 0.0
    copy_runs(framed[:, :, :height, :width, None], image[..., None, :])
