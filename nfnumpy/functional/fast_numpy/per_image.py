"""Images (N, P, C), whose pixels P are all rows and columns in one, as pieces of work for the threads.

Used by: dropout.py, pooling.py, squeeze_excite.py. Test: fast_numpy/test_per_image.py.
"""

from collections.abc import Callable, Sequence

import numpy

from ...backend import blocking, buffer_pool, thread_pool, tuning


def pixels(image: numpy.ndarray) -> numpy.ndarray:
    """(N, H, W, C) as (N, P, C)."""
    n, height, width, channels = image.shape
    return image.reshape(n, height * width, channels)


def pieces(images: numpy.ndarray) -> list[tuple[slice, slice]]:
    """Slices of images (N, P, C) and of their pixels: some images for each thread, or parts of images if these are few.
    """
    some = blocking.split_by_work(len(images), images.size)
    parts = blocking.split_by_work(images.shape[1], images.size)
    if len(images) % len(parts) == 0:
        return [(run, slice(0, images.shape[1])) for run in some]
    return [(slice(n, n + 1), part) for n in range(len(images)) for part in parts]


def sum_pixels(image: numpy.ndarray) -> numpy.ndarray:
    """Σ over pixels of an image (n, P, C): (n, C), as a product with ones."""
    return numpy.matmul(numpy.ones(image.shape[1], dtype=image.dtype), image)


def reduce_pixels(function: Callable[..., numpy.ndarray], *images: numpy.ndarray) -> numpy.ndarray:
    """Sums over pixels, as many as function(*parts of the images) returns: (sums, N, C).

    The parts are (n, p, C), what is returned for them (sums, n, C). Sums of parts of one image are added in order.
    """
    cut = pieces(images[0])
    found = thread_pool.parallel_map(lambda piece: function(*(image[piece] for image in images)), cut)
    n, _, channels = images[0].shape
    sums = numpy.zeros((len(found[0]), n, channels), dtype=images[0].dtype)
    for (run, _), parts in zip(cut, found, strict=True):
        sums[:, run] += parts
    return sums


def blockwise(function: Callable[..., object], images: Sequence[numpy.ndarray],
              channels: Sequence[numpy.ndarray]) -> numpy.ndarray:
    """A new image of which function(out, *parts of the images, *rows) fills every block.

    images: arrays (N, P, C); channels: arrays (N, C), which belong to every pixel of an image alike.
    """
    out = buffer_pool.empty(images[0].shape, images[0].dtype)
    _, count, width = out.shape
    if count * width <= tuning.BLOCK_VALUES:
        return blocking.blockwise(function, out, *images, *(row[:, None] for row in channels))

    def compute(piece):
        run, part = piece
        for n in range(run.start, run.stop):
            arrays = [out[n], *(image[n] for image in images)]
            rows = [row[n] for row in channels]
            blocking.write_blocks(function, part, blocking.rows_in_block(width), arrays, rows)

    thread_pool.parallel_map(compute, pieces(out))
    return out
