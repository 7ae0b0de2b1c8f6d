"""Rows of windows where they lie: an image with its frame, its pixels one after the other, seen as matrices.

A window's row of kw pixels begins at any pixel. Those that begin at every kw-th do not overlap: they are a matrix,
without copying, and the kw matrices so found hold all of them. Some begin where no output is; so that they are few,
the zeros after a row of pixels are those before the next, and likewise between images.
"""

import math

from numpy.lib.stride_tricks import as_strided

from ....backend import scratch
from .im2col import copy_runs


def by_group(image, groups, block, rows=slice(None)):
    """Of an image (N, H, W, groups·C) those rows of a block's images and groups: (groups, n, rows, W, C)."""
    image = image.reshape(*image.shape[:3], groups, -1)
    return image[block.images, rows, :, block.groups].transpose(3, 0, 1, 2, 4)


def _part(seen, length, outputs):
    """Of an axis: the slice of its `length` pixels that are seen, the zeros before it, the pixels from one to the next.

    The zeros after the pixels of a row (or image) are those before the next one's.
    """
    first, last = seen
    part = slice(max(first, 0), max(0, min(last, length)))
    before, after = max(-first, 0), max(last - length, 0)
    return part, before, max(outputs, part.stop - part.start + max(before, after))


def _lay_out(flat, start, frame, image):
    """Write (groups, N, H, W, C) into `flat` (groups, pixels, C), from pixel `start` on, and 0 around it.

    frame: N, the rows from an image to the next, the pixels from a row to the next.
    """
    (groups, _, height, width, channels), stop = image.shape, start + math.prod(frame)
    framed = flat[:, start:stop].reshape(groups, *frame, channels)
    for margin in (flat[:, :start], flat[:, stop:], framed[:, :, height:], framed[:, :, :height, width:]):
        margin[...] = 0.0
    copy_runs(framed[:, :, :height, :width, None], image[..., None, :])


class Rows:
    """The rows of a block's windows: `matrices` (groups, kh, shifts, count, wide·C), and where outputs are among them.

    A row has the pixels that so many outputs `together` see, and begins as many pixels after the one before. Those of
    a matrix do not overlap; the next matrix is of the rows between them. Outputs are counted through all lines of
    pixels, so that two computed together may belong to two of these.
    """

    def __init__(self, image, groups, correlation, block, together):
        (kh, kw), self.out = correlation.taps, (block.rows.stop - block.rows.start, correlation.out[1])
        image = by_group(image, groups, block)
        down, top, high = _part(correlation.seen(0, block.rows.start, block.rows.stop), image.shape[2], self.out[0])
        along, left, line = _part(correlation.seen(1, 0, self.out[1]), image.shape[3], self.out[1])
        image = image[:, :, down, along]
        groups, n, height, _, channels = image.shape
        self.frame = (n, self.out[0] if n == 1 else high, line)
        wide = kw + together - 1
        shifts = -(-wide // together)
        self.pixels = -(-math.prod(self.frame) // (shifts * together)) * shifts * together
        framed, start = (n, height if n == 1 else high, line), top * line + left
        size = max(self.pixels + kw - 1 + (kh - 1) * line, start + math.prod(framed))
        flat = scratch.empty("flat", (groups, size, channels), image.dtype)
        _lay_out(flat, start, framed, image)
        group, pixel, value = flat.strides
        step = together * pixel
        self.matrices = as_strided(flat, (groups, kh, shifts, self.pixels // (shifts * together), wide * channels),
                                   (group, line * pixel, step, shifts * step, value), writeable=False)

    def lay_out(self, image):
        """Values for all pixels (groups, pixels, C): those of `image` (groups, n, y, x, C) at outputs, 0 elsewhere."""
        flat = scratch.empty("laid out", (len(image), self.pixels, image.shape[-1]), image.dtype)
        _lay_out(flat, 0, self.frame, image)
        return flat

    def outputs(self, flat):
        """Of values for all pixels (groups, pixels, C) those at outputs, (groups, n, y, x, C), without copying."""
        framed = flat[:, :math.prod(self.frame)].reshape(len(flat), *self.frame, -1)
        return framed[:, :, :self.out[0], :self.out[1]]
