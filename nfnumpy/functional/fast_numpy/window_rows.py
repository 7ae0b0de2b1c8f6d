"""Correlations of stride 1 with few channels a group, whose windows are rows of values that lie side by side already.

Of an image with its frame, its pixels one after the other, a window's row of kw pixels begins at any pixel. Those that
begin at every kw-th do not overlap: they are a matrix, without copying, and the kw matrices so found hold all of them.
The product with a row of the kernel is a sum's part for all pixels, the frame's too, where it means nothing.
"""

import numpy
from numpy.lib.stride_tricks import as_strided

from ...backend import threads
from .correlation import add_bias, blocks, chunks_of, copy_runs, fill_frame
from .products import multiply, multiply_transposed

FEWEST_CHANNELS, MOST_CHANNELS = 16, 31  # of a group: with less the sums take too long, with more copies pay
NARROWEST = 16  # outputs along a row, of which a frame makes more


def suits(correlation, fan_in):
    """Whether this way is the faster one for groups of `fan_in` channels."""
    return correlation.step == correlation.spacing == (1, 1) and correlation.taps[1] > 1 \
        and FEWEST_CHANNELS <= fan_in <= MOST_CHANNELS and correlation.out[1] >= NARROWEST


def _plan(correlation, image, groups, fan_in, channels, parts):
    row_bytes = (fan_in + correlation.taps[0] * channels) * image.itemsize
    return blocks(correlation, len(image), groups, fan_in, row_bytes, parts)


class _Rows:
    """The rows of a block's windows: `matrices` (groups, kh, kw, rows, kw·C), and where outputs are among them."""

    def __init__(self, image, groups, correlation, block):
        self.taps, (kh, kw) = correlation.taps, correlation.taps
        image = image.reshape(*image.shape[:3], groups, -1)[block.images, :, :, block.groups].transpose(3, 0, 1, 2, 4)
        (groups, n, _, _, channels), width = image.shape, correlation.out[1]
        vertical = correlation.seen(0, block.rows.start, block.rows.stop)
        self.frame = groups, n, vertical[1] - vertical[0], width + kw - 1
        self.out = slice(0, block.rows.stop - block.rows.start), slice(0, width)
        self.pixels = n * self.frame[2] * self.frame[3]
        self.count, line = -(-self.pixels // kw), self.frame[3]
        flat = threads.scratch("flat", (groups, kw * (self.count + 1) + (kh - 1) * line, channels), image.dtype)
        flat[:, self.pixels:] = 0.0
        fill_frame(flat[:, :self.pixels].reshape(*self.frame, channels), image, vertical, correlation.seen(1, 0, width))
        group, pixel, value = flat.strides
        self.matrices = as_strided(flat, (groups, kh, kw, self.count, kw * channels),
                                   (group, line * pixel, pixel, kw * pixel, value), writeable=False)

    def outputs(self, flat):
        """Of values for all pixels (groups, count·kw, C) those at outputs, (groups, n, y, x, C), without copying."""
        return flat[:, :self.pixels].reshape(*self.frame, -1)[:, :, *self.out]


def correlate(image, kernel, out, correlation, bias, parts):
    """Write into `out` (N, H, W, groups·O) what `image` and `kernel` (groups, taps·C, O) give, plus a bias or None."""
    (groups, fan_in, channels), (kh, kw) = kernel.shape, correlation.taps
    by_row = kernel.reshape(groups, kh, 1, fan_in // kh, channels)
    by_group = out.reshape(*out.shape[:3], groups, channels)

    def compute(block):
        rows = _Rows(image, groups, correlation, block)
        sums = threads.scratch("sums of rows", (len(rows.matrices), kh, rows.count, kw, channels), out.dtype)
        multiply(rows.matrices, by_row[block.groups], sums.transpose(0, 1, 3, 2, 4))
        total = sums[:, 0]
        for row in range(1, kh):
            total += sums[:, row]
        target = by_group[block.images, block.rows]
        found = rows.outputs(total.reshape(len(total), -1, channels))
        copy_runs(target[..., block.groups, :].transpose(3, 0, 1, 2, 4)[..., None, :], found[..., None, :])
        if bias is not None:
            run = slice(block.groups.start * channels, block.groups.stop * channels)
            add_bias(target.reshape(-1, groups, channels)[:, block.groups], bias[run])

    threads.in_parallel(compute, _plan(correlation, image, groups, fan_in // (kh * kw), channels, parts))


def weight_vjp(cotangent, image, weight, correlation, parts):
    """Write into `weight` (groups, kh, kw, C, O) the products of all windows with their cotangents, added up."""
    groups, kh, kw, fan_in, channels = weight.shape
    by_group = cotangent.reshape(*cotangent.shape[:3], groups, channels)

    def add_up(chunk):
        total = 0.0
        for block in chunk:
            rows = _Rows(image, groups, correlation, block)
            matrices = rows.matrices
            given = threads.scratch("given", (len(matrices), rows.count * kw, channels), image.dtype)
            given[...] = 0.0
            some = by_group[block.images, block.rows, :, block.groups].transpose(3, 0, 1, 2, 4)
            copy_runs(rows.outputs(given)[..., None, :], some[..., None, :])
            given = given.reshape(len(matrices), 1, rows.count, kw, channels).transpose(0, 1, 3, 2, 4)
            given = numpy.broadcast_to(given, (*matrices.shape[:-1], channels))
            product = threads.scratch("product", (*matrices.shape[:3], matrices.shape[4], channels), image.dtype)
            total = total + multiply_transposed(matrices, given, product).sum(axis=2)
        return chunk[0].groups, total

    weight[...] = 0.0
    for run, total in threads.in_parallel(add_up, chunks_of(
            _plan(correlation, image, groups, fan_in, channels, parts), parts)):
        weight[run] += total.reshape(len(total), kh, kw, fan_in, channels)
