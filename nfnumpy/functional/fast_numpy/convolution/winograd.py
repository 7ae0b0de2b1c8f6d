"""3×3 convolutions of stride 1 with 16 products for every 2×2 outputs instead of 36.

Source: Winograd (1980); Lavin, Gray (2016), arXiv 1509.09308, section 4.1, F(2×2, 3×3): with d a tile of 4×4 pixels
and g a kernel, the 2×2 outputs are Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A, and ⊙, summed over channels, is 16 matrix products. Along
one axis

    Bᵀd = (d0 - d2, d1 + d2, d2 - d1, d1 - d3)    G g = (g0, (g0 + g1 + g2)/2, (g0 - g1 + g2)/2, g2)
    Aᵀm = (m0 + m1 + m2, m1 - m2 - m3)            A y = (y0, y0 + y1, y0 - y1, -y1)

and Gᵀ, for the gradient of the kernel, follows. These sums are passes over memory: they pay where the products are
much longer, that is with many channels, and cost about a factor of two in rounding errors.

Differences make NaN of an infinity, and the kernel's gradient has it at more taps than the formula. Every pixel in the
middle of a tile (d1 or d2 along both axes), every kernel value and every cotangent takes part in the products (1, 1),
so these show, at a fourth of the outputs' size, whether anything is not finite; the few lines of pixels in no tile's
middle are checked by themselves. If so the convolution is left to im2col.
"""

import numpy

from ....backend import blocking, buffer_pool, scratch, thread_pool, tuning
from .gemm import multiply
from .problem import Block, ConvProblem, all_finite, channels_of, chunks_of, plan_blocks


def suits(problem: ConvProblem) -> bool:
    """Whether this is a 3×3 convolution of stride 1 with many channels and enough tiles for fast products."""
    seen = problem.windows
    down, along = _tiles(problem)
    return (seen.kernel == (3, 3) and seen.stride == (1, 1) and seen.dilation == (1, 1)
            and min(problem.fan_in, problem.channels) >= tuning.WINOGRAD_CHANNELS
            and problem.images * down * along >= tuning.WINOGRAD_TILES)


def _tiles(problem):
    """The number of tiles down and along an image."""
    height, width = problem.windows.out
    return -(-height // 2), -(-width // 2)


def _plan(problem):
    """Blocks whose rows are rows of tiles."""
    row_bytes = 16 * (problem.fan_in + problem.channels) * problem.itemsize
    return plan_blocks(problem, row_bytes, tuning.WINOGRAD_BLOCK_BYTES, _tiles(problem))


def _edges_are_finite(image, problem):
    """Whether those lines of pixels are finite that are seen but lie in no tile's middle; none with SAME padding."""
    seen = problem.windows
    for axis, tiles in enumerate(_tiles(problem)):
        first = -seen.before[axis]
        for line in (first, first + 2 * tiles + 1):
            if 0 <= line < seen.image[axis] and not all_finite(image[(slice(None),) * (1 + axis) + (line,)]):
                return False
    return True


def forward(image: numpy.ndarray, kernel: numpy.ndarray, out: numpy.ndarray, bias: numpy.ndarray | None,
            problem: ConvProblem) -> object:
    """Write into `out` (N, H, W, groups·O) what `image` and `kernel` (groups, 9·C, O) give, plus the bias or None.

    NotImplemented where the image or the kernel is not finite.
    """
    if not _edges_are_finite(image, problem):
        return NotImplemented
    channels = problem.channels
    transformed = _kernel_tiles(kernel.reshape(problem.groups, 3, 3, problem.fan_in, channels))

    def compute(block):
        run = channels_of(block, channels)
        tiles = _image_tiles(image, problem, block)
        products = scratch.empty("products", (*tiles.shape[:-1], channels), image.dtype)
        multiply(_as_rows(tiles), transformed[:, block.groups], _as_rows(products))
        products = products.reshape(4, 4, *tiles.shape[2:5], -1)
        if not all_finite(products[1, 1]):
            return False
        _write_outputs(products, out[block.images, 2 * block.rows.start:2 * block.rows.stop, :, run],
                       None if bias is None else bias[run])
        return True

    return None if all(thread_pool.parallel_map(compute, _plan(problem))) else NotImplemented


def _as_rows(tiles):
    """(4, 4, y, x, n, groups, C) as (16, groups, y·x·n, C), without copying."""
    *_, groups, channels = tiles.shape
    return tiles.reshape(16, -1, groups, channels).transpose(0, 2, 1, 3)


def _image_tiles(image: numpy.ndarray, problem: ConvProblem, block: Block) -> numpy.ndarray:
    """Bᵀ d B of a block: (4, 4, rows, columns of tiles, n, groups, C), valid until the next call.

    Two neighbouring tiles share two columns of pixels, so Bᵀ d along one axis is taken of whole lines first.
    """
    lines = _even_odd_columns(image, problem, block)  # (2, 2·rows + 2, columns + 1, n, groups, C)
    _, height, width, n, groups, channels = lines.shape
    rows, columns = height // 2 - 1, width - 1
    half = scratch.empty("half", (4, 2, rows, width, n, groups, channels), image.dtype)
    d0, d1, d2, d3 = (lines[:, k:k + 2 * rows - 1:2] for k in range(4))  # each (2, rows, columns + 1, n, groups, C)
    _transform_four(d0, d1, d2, d3, half)
    tiles = scratch.empty("tiles", (4, 4, rows, columns, n, groups, channels), image.dtype)
    even, odd = half[:, 0], half[:, 1]  # each (4, rows, columns + 1, n, groups, C)
    _transform_four(even[:, :, :-1], odd[:, :, :-1], even[:, :, 1:], odd[:, :, 1:], tiles.swapaxes(0, 1))
    return tiles


def _even_odd_columns(image: numpy.ndarray, problem: ConvProblem, block: Block) -> numpy.ndarray:
    """The pixels that a block's tiles see, 0 outside the image: (2, 2·rows + 2, columns + 1, n, groups, C).

    Even columns of the padded image come first, then the odd ones; images lie next to the channels. So every sum runs
    along whole rows of tiles. Valid until the thread's next call.
    """
    image = image.reshape(*image.shape[:3], problem.groups, -1)[block.images, :, :, block.groups]
    n, height, _, groups, channels = image.shape
    rows, columns = block.rows.stop - block.rows.start, _tiles(problem)[1]
    top, left = problem.windows.before
    top -= 2 * block.rows.start
    padded = scratch.empty("framed", (2, 2 * rows + 2, columns + 1, n, groups, channels), image.dtype)
    padded[...] = 0.0
    first = max(0, -top)
    last = max(first, min(height, 2 * rows + 2 - top))
    for parity in (0, 1):
        # Column k of this parity is pixel 2·k + parity - left; the image begins at the first k where that is ≥ 0.
        start = max(0, -((parity - left) // 2))
        pixels = image[:, first:last, 2 * start + parity - left::2][:, :, :columns + 1 - start]
        stop = start + pixels.shape[2]
        padded[parity, first + top:first + top + pixels.shape[1], start:stop] = _images_last(pixels)
    return padded


def _images_last(image):
    """(n, y, x, groups, C) as (y, x, n, groups, C), without copying."""
    return image.transpose(1, 2, 0, 3, 4)


def _transform_four(d0, d1, d2, d3, out):
    """Bᵀd along one axis: four arrays of one shape into out (4, …)."""
    numpy.subtract(d0, d2, out=out[0])
    numpy.add(d1, d2, out=out[1])
    numpy.subtract(d2, d1, out=out[2])
    numpy.subtract(d1, d3, out=out[3])


def _kernel_tiles(kernel: numpy.ndarray) -> numpy.ndarray:
    """G g Gᵀ: (groups, 3, 3, C, O) as (16, groups, C, O)."""
    groups, _, _, fan_in, channels = kernel.shape
    transformed = buffer_pool.empty((4, 4, groups, fan_in, channels), kernel.dtype)

    def compute(share):
        taps = kernel[..., share, :].transpose(1, 2, 0, 3, 4)  # (3, 3, groups, inputs, O)
        half = scratch.empty("half", (4, *taps.shape[1:]), kernel.dtype)
        _transform_three(taps, half)
        _transform_three(half.swapaxes(0, 1), transformed[..., share, :].swapaxes(0, 1))

    thread_pool.parallel_map(compute, blocking.split_by_thread(fan_in))
    return transformed.reshape(16, groups, fan_in, channels)


def _transform_three(g, out):
    """G g along one axis: (3, …) into (4, …)."""
    out[0], out[3] = g[0], g[2]
    numpy.add(g[0], g[2], out=out[1])
    numpy.subtract(out[1], g[1], out=out[2])
    out[1] += g[1]
    out[1:3] *= out.dtype.type(0.5)


def _write_outputs(products: numpy.ndarray, out: numpy.ndarray, bias: numpy.ndarray | None) -> None:
    """Aᵀ m A of products (4, 4, y, x, n, C) into out (n, 2·y, 2·x, C), whose last row or column may be missing.

    products is overwritten. A bias that all four outputs get is one that only the product (1, 1) gets.
    """
    if bias is not None:
        products[1, 1] += bias
    _reduce_to_two(products.swapaxes(0, 1))
    _reduce_to_two(products[:, :2])
    for row in (0, 1):
        for column in (0, 1):
            target = out[:, row::2, column::2].transpose(1, 2, 0, 3)
            target[...] = products[row, column, :target.shape[0], :target.shape[1]]


def _reduce_to_two(m):
    """Aᵀm along one axis of (4, …), written over m0 and m1."""
    m[0] += m[1]
    m[0] += m[2]
    m[1] -= m[2]
    m[1] -= m[3]


def weight_vjp(cotangent: numpy.ndarray, image: numpy.ndarray, weight: numpy.ndarray, problem: ConvProblem) -> object:
    """Write into `weight` (groups, 3, 3, C, O) the products of all windows with their cotangents, added up.

    NotImplemented where the image or the cotangent is not finite.
    """
    if not _edges_are_finite(image, problem):
        return NotImplemented

    def product(block, out=None):
        seen = _as_rows(_image_tiles(image, problem, block)).transpose(0, 1, 3, 2)
        return numpy.matmul(seen, _as_rows(_cotangent_tiles(cotangent, problem, block)), out=out)

    def add_up(chunk):
        total = product(chunk[0])
        for block in chunk[1:]:
            total += product(block, scratch.empty("products", total.shape, total.dtype))
        return (chunk[0].groups.start, chunk[0].groups.stop), total

    sums: dict[tuple[int, int], numpy.ndarray] = {}
    for run, total in thread_pool.parallel_map(add_up, chunks_of(_plan(problem), problem.threads)):
        if run in sums:
            sums[run] += total
        else:
            sums[run] = total

    def write(run):
        total = sums[run].reshape(4, 4, *sums[run].shape[1:])
        if not all_finite(total[1, 1]):
            return False
        _write_kernel(total, weight[slice(*run)].transpose(1, 2, 0, 3, 4))
        return True

    return None if all(thread_pool.parallel_map(write, sums)) else NotImplemented


def _cotangent_tiles(cotangent: numpy.ndarray, problem: ConvProblem, block: Block) -> numpy.ndarray:
    """A y Aᵀ of a block but for the sign of what a 3 stands for: (4, 4, rows, columns of tiles, n, groups, O)."""
    rows, columns = block.rows.stop - block.rows.start, _tiles(problem)[1]
    y = cotangent.reshape(*cotangent.shape[:3], problem.groups, -1)[
        block.images, 2 * block.rows.start:2 * block.rows.stop, :, block.groups]
    if y.shape[1:3] != (2 * rows, 2 * columns):
        framed = scratch.empty("framed", (len(y), 2 * rows, 2 * columns, *y.shape[3:]), y.dtype)
        framed[...] = 0.0
        framed[:, :y.shape[1], :y.shape[2]] = y
        y = framed
    half = scratch.empty("half", (4, 2, rows, columns, len(y), *y.shape[3:]), y.dtype)
    y = _images_last(y)  # (2·rows, 2·columns, n, groups, O)
    for parity in (0, 1):
        _transform_two(y[0::2, parity::2], y[1::2, parity::2], half[:, parity])
    tiles = scratch.empty("cotangent tiles", (4, 4, *half.shape[2:]), y.dtype)
    _transform_two(half[:, 0], half[:, 1], tiles.swapaxes(0, 1))
    return tiles


def _transform_two(y0, y1, out):
    """A y along one axis into out (4, …), with +y1 in the place of -y1."""
    out[0], out[3] = y0, y1
    numpy.add(y0, y1, out=out[1])
    numpy.subtract(y0, y1, out=out[2])


def _write_kernel(total: numpy.ndarray, out: numpy.ndarray) -> None:
    """Gᵀ u G of (4, 4, groups, C, O) into (3, 3, groups, C, O); total is overwritten."""
    half = numpy.empty((3, *total.shape[1:]), dtype=total.dtype)
    _reduce_to_three(total, half)
    _reduce_to_three(half.swapaxes(0, 1), out.swapaxes(0, 1))


def _reduce_to_three(u, out):
    """Gᵀu along one axis of (4, …) into (3, …), with the sign that `_transform_two` left out; u is overwritten."""
    numpy.subtract(u[1], u[2], out=out[1])
    u[1] += u[2]
    u[1] *= u.dtype.type(0.5)
    out[1] *= u.dtype.type(0.5)
    numpy.add(u[0], u[1], out=out[0])
    numpy.subtract(u[1], u[3], out=out[2])
