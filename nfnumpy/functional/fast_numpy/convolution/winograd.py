"""3×3 correlations of stride 1 with 16 products for every 2×2 outputs instead of 36.

Source: Winograd (1980); Lavin, Gray (2016), arXiv 1509.09308, section 4.1, F(2×2, 3×3): with d a tile of 4×4 pixels
and g a kernel, the 2×2 outputs are Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A, and ⊙, summed over channels, is 16 matrix products. Along
one axis

    Bᵀd = (d0 - d2, d1 + d2, d2 - d1, d1 - d3)    G g = (g0, (g0 + g1 + g2)/2, (g0 - g1 + g2)/2, g2)
    Aᵀm = (m0 + m1 + m2, m1 - m2 - m3)            A y = (y0, y0 + y1, y0 - y1, -y1)

and Gᵀ, for the way back to the kernel, follows. These sums are passes over memory: they pay where the products are
much longer, that is with many channels, and cost about a factor of two in rounding errors. What is not finite reaches
a whole tile of 2×2 outputs, as NaN where a difference of infinities is taken.
"""

import numpy

from ....backend import blocking, buffer_pool, thread_pool, threads, tuning
from .im2col import Correlation, blocks, chunks_of
from .gemm import multiply


def suits(correlation, images, fan_in, channels):
    """Whether this way is the faster one for so many images, with groups of `fan_in` channels to `channels`."""
    tiles = images * -(-correlation.out[0] // 2) * -(-correlation.out[1] // 2)
    return correlation.taps == (3, 3) and correlation.step == correlation.spacing == (1, 1) \
        and min(fan_in, channels) >= tuning.WINOGRAD_CHANNELS and tiles >= tuning.WINOGRAD_TILES


def _plan(correlation, images, groups, fan_in, channels, itemsize, parts):
    """Blocks whose rows are rows of tiles."""
    tiles = Correlation((1, 1), (1, 1), (1, 1), (0, 0), tuple(-(-size // 2) for size in correlation.out))
    return tiles.out, blocks(tiles, images, groups, fan_in, 16 * (fan_in + channels) * itemsize, parts, tuning.WINOGRAD_BLOCK_BYTES)


def correlate(image, kernel, out, correlation, bias, parts):
    """Write into `out` (N, H, W, groups·O) what `image` and `kernel` (groups, 9·C, O) give, plus the bias or None."""
    groups, fan_in, channels = len(kernel), kernel.shape[1] // 9, kernel.shape[2]
    tiles, plan = _plan(correlation, len(image), groups, fan_in, channels, image.itemsize, parts)
    transformed = _kernel_tiles(kernel.reshape(groups, 3, 3, fan_in, channels))

    def compute(block):
        run = slice(block.groups.start * channels, block.groups.stop * channels)
        seen = _image_tiles(image, groups, correlation, block, tiles[1])
        products = scratch.empty("products", (*seen.shape[:-2], seen.shape[-2], channels), image.dtype)
        multiply(_as_rows(seen), transformed[:, block.groups], _as_rows(products))
        _write_outputs(products.reshape(4, 4, *seen.shape[2:5], -1),
                       out[block.images, 2 * block.rows.start:2 * block.rows.stop, :, run],
                       None if bias is None else bias[run])

    thread_pool.parallel_map(compute, plan)


def _as_rows(tiles):
    """(4, 4, y, x, n, groups, C) as (16, groups, y·x·n, C), without copying."""
    *_, groups, channels = tiles.shape
    return tiles.reshape(16, -1, groups, channels).transpose(0, 2, 1, 3)


def _image_tiles(image, groups, correlation, block, columns):
    """Bᵀ d B of a block: (4, 4, rows, columns of tiles, n, groups, C), valid until the next call."""
    image = image.reshape(*image.shape[:3], groups, -1)[block.images, :, :, block.groups]
    n, height, _, groups, channels = image.shape
    rows, (top, left) = block.rows.stop - block.rows.start, correlation.before
    top -= 2 * block.rows.start
    # Even and odd columns lie apart, images side by side, so that every sum runs along whole rows of tiles.
    framed = scratch.empty("framed", (2, 2 * rows + 2, columns + 1, n, groups, channels), image.dtype)
    framed[...] = 0.0
    first, last = max(0, -top), min(height, 2 * rows + 2 - top)
    for parity in (0, 1):
        start = max(0, -((parity - left) // 2))
        some = image[:, first:max(first, last), 2 * start + parity - left::2][:, :, :columns + 1 - start]
        framed[parity, first + top:first + top + some.shape[1], start:start + some.shape[2]] = _images_last(some)
    half = scratch.empty("half", (4, 2, rows, columns + 1, n, groups, channels), image.dtype)
    _of_four(*(framed[:, k:k + 2 * rows - 1:2] for k in range(4)), half)
    tiles = scratch.empty("tiles", (4, 4, rows, columns, n, groups, channels), image.dtype)
    even, odd = half[:, 0], half[:, 1]
    _of_four(even[:, :, :-1], odd[:, :, :-1], even[:, :, 1:], odd[:, :, 1:], tiles.swapaxes(0, 1))
    return tiles


def _images_last(image):
    """(n, y, x, groups, C) as (y, x, n, groups, C), without copying."""
    return image.transpose(1, 2, 0, 3, 4)


def _of_four(d0, d1, d2, d3, out):
    """Bᵀd."""
    numpy.subtract(d0, d2, out=out[0])
    numpy.add(d1, d2, out=out[1])
    numpy.subtract(d2, d1, out=out[2])
    numpy.subtract(d1, d3, out=out[3])


def _kernel_tiles(kernel):
    """G g Gᵀ: (groups, 3, 3, C, O) as (16, groups, C, O)."""
    groups, _, _, fan_in, channels = kernel.shape
    transformed = buffer_pool.empty((4, 4, groups, fan_in, channels), kernel.dtype)

    def compute(share):
        some = kernel[..., share, :].transpose(1, 2, 0, 3, 4)
        half = scratch.empty("half", (4, *some.shape[1:]), kernel.dtype)
        _of_three(some, half)
        _of_three(half.swapaxes(0, 1), transformed[..., share, :].swapaxes(0, 1))

    thread_pool.parallel_map(compute, blocking.split_by_thread(fan_in))
    return transformed.reshape(16, groups, fan_in, channels)


def _of_three(g, out):
    """G g."""
    out[0], out[3] = g[0], g[2]
    numpy.add(g[0], g[2], out=out[1])
    numpy.subtract(out[1], g[1], out=out[2])
    out[1] += g[1]
    out[1:3] *= out.dtype.type(0.5)


def _write_outputs(products, out, bias):
    """Aᵀ m A of products (4, 4, y, x, n, C) into out (n, 2·y, 2·x, C), whose last row or column may be missing.

    products is overwritten. A bias that all four outputs get is one that only the product (1, 1) gets.
    """
    if bias is not None:
        products[1, 1] += bias
    _to_two(products.swapaxes(0, 1))
    _to_two(products[:, :2])
    for row in (0, 1):
        for column in (0, 1):
            target = out[:, row::2, column::2].transpose(1, 2, 0, 3)
            target[...] = products[row, column, :target.shape[0], :target.shape[1]]


def _to_two(m):
    """Aᵀm in the place of m0 and m1."""
    m[0] += m[1]
    m[0] += m[2]
    m[1] -= m[2]
    m[1] -= m[3]


def weight_vjp(cotangent, image, weight, correlation, parts):
    """Write into `weight` (groups, 3, 3, C, O) what the products of all windows with their cotangents add up to."""
    groups, _, _, fan_in, channels = weight.shape
    tiles, plan = _plan(correlation, len(image), groups, fan_in, channels, image.itemsize, parts)

    def add_up(chunk):
        total = None
        for block in chunk:
            seen = _as_rows(_image_tiles(image, groups, correlation, block, tiles[1])).transpose(0, 1, 3, 2)
            given = _as_rows(_cotangent_tiles(cotangent, groups, block, tiles[1]))
            if total is None:
                total = numpy.matmul(seen, given)
            else:
                total += numpy.matmul(seen, given, out=scratch.empty("products", total.shape, total.dtype))
        return (chunk[0].groups.start, chunk[0].groups.stop), total

    sums = {}
    for run, total in thread_pool.parallel_map(add_up, chunks_of(plan, parts)):
        if run in sums:
            sums[run] += total
        else:
            sums[run] = total

    def write(run):
        total = sums[run]
        _write_kernel(total.reshape(4, 4, *total.shape[1:]), weight[slice(*run)].transpose(1, 2, 0, 3, 4))

    thread_pool.parallel_map(write, sums)


def _cotangent_tiles(cotangent, groups, block, columns):
    """A y Aᵀ of a block but for the sign of what a 3 stands for: (4, 4, rows, columns of tiles, n, groups, O)."""
    rows = block.rows.stop - block.rows.start
    some = cotangent.reshape(*cotangent.shape[:3], groups, -1)[
        block.images, 2 * block.rows.start:2 * block.rows.stop, :, block.groups]
    if some.shape[1:3] != (2 * rows, 2 * columns):
        framed = scratch.empty("framed", (len(some), 2 * rows, 2 * columns, *some.shape[3:]), some.dtype)
        framed[...] = 0.0
        framed[:, :some.shape[1], :some.shape[2]] = some
        some = framed
    half = scratch.empty("half", (4, 2, rows, columns, len(some), *some.shape[3:]), some.dtype)
    some = _images_last(some)
    for parity in (0, 1):
        _of_two(some[0::2, parity::2], some[1::2, parity::2], half[:, parity])
    tiles = scratch.empty("cotangent tiles", (4, 4, *half.shape[2:]), some.dtype)
    _of_two(half[:, 0], half[:, 1], tiles.swapaxes(0, 1))
    return tiles


def _of_two(y0, y1, out):
    """A y, with +y1 in the place of -y1."""
    out[0], out[3] = y0, y1
    numpy.add(y0, y1, out=out[1])
    numpy.subtract(y0, y1, out=out[2])


def _write_kernel(total, out):
    """Gᵀ u G of (4, 4, groups, C, O) into (3, 3, groups, C, O); total is overwritten."""
    half = numpy.empty((3, *total.shape[1:]), dtype=total.dtype)
    _to_three(total, half)
    _to_three(half.swapaxes(0, 1), out.swapaxes(0, 1))


def _to_three(u, out):
    """Gᵀu, with the sign that `_of_two` left out."""
    numpy.subtract(u[1], u[2], out=out[1])
    u[1] += u[2]
    u[1] *= u.dtype.type(0.5)
    out[1] *= u.dtype.type(0.5)
    numpy.add(u[0], u[1], out=out[0])
    numpy.subtract(u[1], u[3], out=out[2])
