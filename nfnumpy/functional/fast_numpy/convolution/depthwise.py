"""Correlations of every channel with a kernel of its own: too little for products of matrices.

One call adds up all taps, reading each pixel where it lies; its innermost loop runs along the channels.
"""

import numpy

from ....backend import thread_pool
from .im2col import blocks, chunks_of, window_view


def _plan(correlation, image, parts):
    """Blocks of all channels; a row is a pixel of the image and of the result."""
    return blocks(correlation, len(image), 1, image.shape[3], 2 * image.shape[3] * image.itemsize, parts)


def correlate(image, kernel, out, correlation, bias, parts):
    """Write into `out` (N, H, W, C) what `image` and `kernel` (C, taps, 1) give, plus the bias or None."""
    taps = numpy.ascontiguousarray(kernel[..., 0].T).reshape(*correlation.taps, -1)

    def compute(block):
        view = window_view(image, 1, correlation, block)[0]
        target = out[block.images, block.rows]
        numpy.einsum("nyxijc,ijc->nyxc", view, taps, out=target)
        if bias is not None:
            target += bias

    thread_pool.parallel_map(compute, _plan(correlation, image, parts))


def weight_vjp(cotangent, image, weight, correlation, parts):
    """Write into `weight` (C, kh, kw, 1, 1) the products of all windows with their cotangents, added up."""
    def add_up(chunk):
        total = numpy.zeros((*correlation.taps, image.shape[3]), dtype=image.dtype)
        for block in chunk:
            view = window_view(image, 1, correlation, block)[0]
            total += numpy.einsum("nyxijc,nyxc->ijc", view, cotangent[block.images, block.rows])
        return total

    totals = thread_pool.parallel_map(add_up, chunks_of(_plan(correlation, image, parts), parts))
    weight[..., 0, 0] = sum(totals[1:], start=totals[0]).transpose(2, 0, 1)
