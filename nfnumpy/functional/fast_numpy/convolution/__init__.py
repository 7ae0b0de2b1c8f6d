"""`convolution.conv2d` and its derivatives as few large products of gathered windows (correlation.py), on our threads.

The way back to the image is a convolution too: outputs `stride` pixels apart see the same taps, so each of the stride²
lattices of pixels is a correlation of the cotangent with taps of its own, turned around (Dumoulin, Visin, 2016, arXiv
1603.07285, chapter 4).
"""

import itertools
import math

import numpy

from ....backend import blocking, buffer_pool, thread_pool, threads, tuning
from ... import convolution as formulas
from ... import convolution
from ..dtypes import share_float_dtype
from . import depthwise, implicit_im2col, strided_input_vjp, winograd
from .im2col import Correlation, add_bias, blocks, chunks_of, windows, worth_of
from .gemm import multiply, multiply_transposed

def _parts(multiply_adds):
    """How many threads so many multiply-adds are worth."""
    return threads.count() if multiply_adds >= tuning.PARALLEL_MULTIPLY_ADDS else 1


def _covers(*arrays):
    return share_float_dtype(*arrays) and all(array.size for array in arrays)


def _by_group(weight, groups):
    """(kh, kw, in/groups, out) as (groups, kh·kw·in/groups, out/groups), without copying."""
    *fan_in, out = weight.shape
    return weight.reshape(math.prod(fan_in), groups, out // groups).transpose(1, 0, 2)


def _forward(seen):
    return Correlation(seen.kernel, seen.stride, seen.dilation, tuple(before for before, _ in seen.padding), seen.out)


@formulas.conv2d.fast_path("numpy")
def conv2d(x, weight, bias=None, *, groups=1, **geometry):
    """A correlation of the image with the kernel."""
    seen = convolution.conv2d_windows(x.shape, weight.shape, groups=groups, **geometry)
    if not _covers(x, weight) or bias is not None and (bias.dtype != x.dtype or bias.shape != weight.shape[3:]):
        return NotImplemented
    out = buffer_pool.empty((x.shape[0], *seen.out, weight.shape[3]), x.dtype)
    _correlate(x, _by_group(weight, groups), out, _forward(seen), bias)
    return out


def _correlate(image, kernel, out, correlation, bias=None):
    """Write the correlation of `image` with `kernel` (groups, taps·in, out) and the bias into `out` (N, H, W, C)."""
    (groups, fan_in, channels), side_by_side = kernel.shape, out.flags.c_contiguous
    parts = _parts(math.prod(out.shape[:3]) * kernel.size)
    if winograd.suits(correlation, len(image), fan_in // 9, channels):
        return winograd.correlate(image, kernel, out, correlation, bias, parts)
    if channels == 1 and fan_in == math.prod(correlation.taps):
        return depthwise.correlate(image, kernel, out, correlation, bias, parts)
    if side_by_side and implicit_im2col.suits(correlation, fan_in // math.prod(correlation.taps), channels, out.dtype):
        return implicit_im2col.correlate(image, kernel, out, correlation, bias, parts)

    def compute(block):
        rows = windows(image, groups, correlation, block)
        run = slice(block.groups.start * channels, block.groups.stop * channels)
        target = out[block.images, block.rows, :, run]
        if side_by_side:
            whole = out[block.images, block.rows].reshape(-1, groups, channels)
            result = whole[:, block.groups]
        else:
            result = scratch.empty("result", (rows.shape[1], len(rows), channels), out.dtype)
        multiply(rows, kernel[block.groups], result.transpose(1, 0, 2))
        if bias is not None:
            add_bias(result, bias[run])
        if not side_by_side:
            target[...] = result.reshape(target.shape)

    row_bytes, taps = (fan_in + channels) * image.itemsize, math.prod(correlation.taps)
    thread_pool.parallel_map(compute, blocks(correlation, len(image), groups, fan_in // taps, row_bytes, parts,
                                         worth_of(kernel[0])))


@formulas.conv2d_x_vjp.fast_path("numpy")
def conv2d_x_vjp(cotangent, weight, x_shape, *, groups=1, **geometry):
    """A correlation of the cotangent for every lattice of pixels, or for all at once."""
    seen = convolution.conv2d_windows(x_shape, weight.shape, groups=groups, **geometry)
    if not _covers(cotangent, weight) or not math.prod(x_shape):
        return NotImplemented
    out = buffer_pool.empty(tuple(x_shape), cotangent.dtype)
    if strided_input_vjp.suits(seen, x_shape, weight.shape, groups):
        parts = _parts(math.prod(cotangent.shape[:3]) * weight.size)
        strided_input_vjp.x_vjp(cotangent, weight, out, seen, groups, parts)
        return out
    for rests in itertools.product(*map(range, seen.stride)):
        axes = [_lattice(seen, axis, rest) for axis, rest in enumerate(rests)]
        pixels, taps, spacing, before = zip(*axes)
        lattice = out[:, *pixels]
        if not lattice.size:
            continue
        if all(taps):
            correlation = Correlation(tuple(map(len, taps)), (1, 1), spacing, before, lattice.shape[1:3])
            _correlate(cotangent, _turned(weight, taps, groups), lattice, correlation)
        else:
            lattice[...] = 0.0
    return out


def _lattice(seen, axis, rest):
    """(pixels, taps, spacing, before) of the pixels of an axis whose place on the padded axis is `rest` modulo stride.

    Pixel stride·u + rest is seen through tap i by output u - (i·dilation - rest)/stride, where that is whole.
    """
    stride, dilation, padding = seen.stride[axis], seen.dilation[axis], seen.padding[axis][0]
    first = (rest - padding) % stride
    taps = [tap for tap in reversed(range(seen.kernel[axis])) if tap * dilation % stride == rest]
    behind = [(tap * dilation - rest) // stride for tap in taps]
    spacing = behind[0] - behind[1] if len(taps) > 1 else 1
    return slice(first, None, stride), taps, spacing, behind[0] - (first + padding) // stride if taps else 0


def _turned(weight, taps, groups):
    """These taps of the weight (kh, kw, in, out) with inputs and outputs exchanged: (groups, taps·out/groups, in)."""
    (_, _, fan_in, out), (down, along) = weight.shape, taps
    if len(down) == len(along) == 1:
        return weight[down[0], along[0]].reshape(fan_in, groups, out // groups).transpose(1, 2, 0)
    turned = buffer_pool.empty((groups, len(down) * len(along), out // groups, fan_in), weight.dtype)

    def turn(tap):
        source = weight[down[tap // len(along)], along[tap % len(along)]]
        turned[:, tap] = source.reshape(fan_in, groups, out // groups).transpose(1, 2, 0)

    if weight.size >= tuning.PARALLEL_VALUES:
        thread_pool.parallel_map(turn, range(turned.shape[1]))
    else:
        for tap in range(turned.shape[1]):
            turn(tap)
    return turned.reshape(groups, -1, fan_in)


@formulas.conv2d_weight_vjp.fast_path("numpy")
def conv2d_weight_vjp(cotangent, x, weight_shape, *, groups=1, **geometry):
    """The product of all windows with the cotangents of their outputs."""
    seen = convolution.conv2d_windows(x.shape, weight_shape, groups=groups, **geometry)
    if not _covers(cotangent, x):
        return NotImplemented
    kh, kw, fan_in, out = weight_shape
    cotangent, weight = numpy.ascontiguousarray(cotangent), buffer_pool.empty(tuple(weight_shape), x.dtype)
    by_group = weight.reshape(kh, kw, fan_in, groups, -1).transpose(3, 0, 1, 2, 4)
    parts = _parts(math.prod(cotangent.shape[:3]) * weight.size)
    if winograd.suits(_forward(seen), len(x), fan_in, out // groups):
        add_up = winograd.weight_vjp
    elif implicit_im2col.suits(_forward(seen), fan_in, out // groups, x.dtype):
        add_up = implicit_im2col.weight_vjp
    else:
        add_up = depthwise.weight_vjp if fan_in == 1 and out == groups else _weight_vjp
    add_up(cotangent, x, by_group, _forward(seen), parts)
    return weight


def _weight_vjp(cotangent, x, weight, correlation, parts):
    """Write into `weight` (groups, kh, kw, in, out) the products of all windows with their cotangents, added up.

    Every thread has some of the groups, or some of the inputs of each; only where the weight is small does it have
    some of the outputs instead, and the sums are added in their order.
    """
    groups, kh, kw, fan_in, channels = weight.shape
    plan = blocks(correlation, len(x), groups, fan_in, kh * kw * fan_in * x.itemsize, parts)
    runs = chunks_of(plan, 1)
    small = len(runs) < parts and weight.nbytes <= tuning.THREAD_SUM_BYTES
    if small:
        weight[...] = 0.0
        tasks = [(chunk, slice(0, fan_in)) for chunk in chunks_of(plan, parts)]
    else:
        tasks = [(run, inputs) for run in runs for inputs in blocking.split_evenly(fan_in, -(-parts // len(runs)))]

    def add_up(task):
        some, inputs = task
        total = None
        for block in some:
            rows = windows(x, groups, correlation, block, inputs)
            outputs = cotangent[block.images, block.rows].reshape(-1, groups, channels)[:, block.groups]
            shape = (len(rows), rows.shape[2], channels)
            product = numpy.empty(shape, x.dtype) if total is None else scratch.empty("product", shape, x.dtype)
            multiply_transposed(rows, outputs.transpose(1, 0, 2), product)
            total = product if total is None else numpy.add(total, product, out=total)
        target = weight[some[0].groups, :, :, inputs]
        total = total.reshape(target.shape)
        if not small:
            target[...] = total
        return target, total

    for target, total in thread_pool.parallel_map(add_up, tasks):
        if small:
            target += total
