"""How images (N, P, C), whose pixels P are all rows and columns in one, are shared out to our threads."""

import numpy

from ...backend import thread_pool, buffer_pool
from . import blocks


def pixels(image):
    """(N, H, W, C) as (N, P, C)."""
    n, height, width, channels = image.shape
    return image.reshape(n, height * width, channels)


def pieces(images):
    """Slices of images (N, P, C) and of their pixels: some images for each thread, or parts of images if these are few.
    """
    some, parts = blocks.split_by_work(len(images), images.size), blocks.split_by_work(images.shape[1], images.size)
    if len(images) % len(parts) == 0:
        return [(run, slice(0, images.shape[1])) for run in some]
    return [(slice(n, n + 1), part) for n in range(len(images)) for part in parts]


def add_up(compute, *images):
    """Sums over pixels, (N, C) each: compute(*parts of the images) gives some for every piece of work."""
    cut = pieces(images[0])
    found = thread_pool.parallel_map(lambda piece: compute(*(image[piece] for image in images)), cut)
    sums = numpy.zeros((len(found[0]), len(images[0]), images[0].shape[2]), dtype=images[0].dtype)
    for (run, _), parts in zip(cut, found):
        sums[:, run] += parts
    return sums


def total(image):
    """Σ over pixels of an image (n, P, C): (n, C), as a product with ones."""
    return numpy.matmul(numpy.ones(image.shape[1], dtype=image.dtype), image)


def fill(compute, images, channels):
    """A new image of which compute(out, *parts of images, *rows) fills every block.

    images: arrays (N, P, C); channels: arrays (N, C), which compute sees beside each pixel.
    """
    out = buffer_pool.empty(images[0].shape, images[0].dtype)
    _, count, width = out.shape

    def whole_images(run):
        for block in blocks.blocks(run, count * width):
            compute(out[block], *(image[block] for image in images), *(row[block, None] for row in channels))

    def pixel_rows(piece):
        run, part = piece
        cut = blocks.blocks(part, width)
        most = cut[0].stop - cut[0].start
        for n in range(run.start, run.stop):
            rows = [blocks.repeated(f"rows {k}", row[n], most) for k, row in enumerate(channels)]
            for block in cut:
                compute(out[n, block], *(image[n, block] for image in images),
                        *(row[:block.stop - block.start] for row in rows))

    if count * width <= blocks.BLOCK:
        thread_pool.parallel_map(whole_images, blocks.split_by_work(len(out), out.size))
    else:
        thread_pool.parallel_map(pixel_rows, pieces(out))
    return out
