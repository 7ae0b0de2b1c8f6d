"""Which taps of a kernel fall on the image, without a frame of zeros around it: the outputs at its edges see fewer.

Used by: depthwise.py. Test: fast_numpy/test_depthwise.py.
"""

import functools
import itertools
from typing import NamedTuple

import numpy

from ....backend import blocking
from ...windows import Windows


class Run(NamedTuple):
    """Neighbouring outputs along one axis that see the same taps, and the pixel under the first tap of the first."""

    outputs: slice
    taps: slice
    pixel: int


class Part(NamedTuple):
    """Outputs of a block of rows that see the same taps, and how the values under them lie in an image.

    outputs: index of a block (n, rows, W, C) of outputs; taps: slices down and along; values: (y, x, values), the form
    of the outputs but for n; shape: of the values seen (y, x, i, j, values), but for n; strides: theirs
    with that of n, in bytes; offset: of the first value, in bytes.
    """

    outputs: tuple[slice, slice, slice]
    taps: tuple[slice, slice]
    values: tuple[int, ...]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    def seen(self, images: numpy.ndarray) -> numpy.ndarray:
        """The values under these taps in contiguous images (n, H, W, C): (n, y, x, i, j, values)."""
        return numpy.ndarray((len(images), *self.shape), images.dtype, images, self.offset, self.strides)

    def of(self, outputs: numpy.ndarray) -> numpy.ndarray:
        """The part's own of a block of outputs: (n, y, x, values)."""
        return outputs[self.outputs].reshape(len(outputs), *self.values)


def runs_of(seen: Windows, axis: int) -> tuple[Run, ...]:
    """All outputs along an axis in order; the taps of a run are an empty slice where it sees no pixel."""
    return _runs(*(pair[axis] for pair in (seen.image, seen.kernel, seen.stride, seen.dilation, seen.before, seen.out)))


@functools.lru_cache(maxsize=4096)
def _runs(size, kernel, stride, dilation, before, out):
    def taps(output):
        first = output * stride - before
        start = max(0, -(first // dilation))
        return start, max(start, min(kernel, (size - 1 - first) // dilation + 1))

    runs = []
    for (start, stop), some in itertools.groupby(range(out), key=taps):
        outputs = list(some)
        pixel = outputs[0] * stride - before + start * dilation
        runs.append(Run(slice(outputs[0], outputs[-1] + 1), slice(start, stop), pixel))
    return tuple(runs)


def _cut(runs, stride, outputs, longest):
    """Of these runs what lies in a range of outputs, in pieces of at most `longest`."""
    pieces = []
    for run in runs:
        start, stop = max(run.outputs.start, outputs.start), min(run.outputs.stop, outputs.stop)
        for piece in blocking.split_evenly(max(stop - start, 0), -(-(stop - start) // longest)):
            first, last = start + piece.start, start + piece.stop
            if last > first:
                pieces.append(Run(slice(first, last), run.taps, run.pixel + (first - run.outputs.start) * stride))
    return pieces


@functools.lru_cache(maxsize=4096)
def parts_of(seen: Windows, start: int, stop: int, channels: int, itemsize: int, longest: int) -> tuple[Part, ...]:
    """The parts of the rows start … stop - 1 of outputs.

    At most `longest` columns are one run of values; more than one may be only where the stride along the row is 1.
    """
    rows = _cut(runs_of(seen, 0), seen.stride[0], slice(start, stop), stop - start)
    merged = longest > 1
    columns = _cut(runs_of(seen, 1), seen.stride[1], slice(0, seen.out[1]), longest if merged else seen.out[1])
    pixel = channels * itemsize
    row = seen.image[1] * pixel
    strides = (seen.image[0] * row, seen.stride[0] * row, seen.stride[1] * pixel, seen.dilation[0] * row,
               seen.dilation[1] * pixel, itemsize)
    parts = []
    for down, along in itertools.product(rows, columns):
        y, x, i, j = (some.stop - some.start for some in (down.outputs, along.outputs, down.taps, along.taps))
        values = (y, 1, x * channels) if merged else (y, x, channels)
        parts.append(Part((slice(None), slice(down.outputs.start - start, down.outputs.stop - start), along.outputs),
                          (down.taps, along.taps), values, (*values[:2], i, j, values[2]), strides,
                          down.pixel * row + along.pixel * pixel if i and j else 0))
    return tuple(parts)
