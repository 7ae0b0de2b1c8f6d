"""Where windows fall on an image: the sizes and paddings that convolution and pooling share.

Used by: convolution.py, pooling.py and their fast paths. Test: reference_tests/functional/test_windows.py.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ..backend import namespace
from ..backend.arrays import Array
from ..errors import InputError
from .checks import Size, as_whole_number, pair, shown

Pair = tuple[int, int]
Padding = str | int | Sequence[Sequence[int]]


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> Pair:
    """(before, after) so that out = ceil(size/stride); the odd pixel goes after, as in TensorFlow."""
    out = -(-size // stride)
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def padding_of(image: Pair, kernel: Pair, stride: Pair, dilation: Pair, padding: Padding) -> tuple[Pair, Pair]:
    """`padding` ("SAME", "VALID", a number, or ((top, bottom), (left, right))) as the last of these forms."""
    if isinstance(padding, str):
        if padding == "SAME":
            axes = zip(image, kernel, stride, dilation, strict=True)
            vertical, horizontal = (same_padding(*axis) for axis in axes)
            return vertical, horizontal
        if padding == "VALID":
            return (0, 0), (0, 0)
    explicit = _explicit_padding(padding)
    if explicit is None:
        raise InputError(f"padding: expected 'SAME', 'VALID', a whole number ≥ 0 or ((top, bottom), (left, right)), "
                         f"got {shown(padding)}")
    return explicit


def _explicit_padding(padding: Any) -> tuple[Pair, Pair] | None:
    """A number, or two pairs of numbers, as two pairs; None for anything else."""
    number = as_whole_number(padding)
    if number is not None:
        given = [number] * 4
    else:
        try:
            (top, bottom), (left, right) = padding
        except (TypeError, ValueError):
            return None
        given = [top, bottom, left, right]
    edges = [edge for edge in map(as_whole_number, given) if edge is not None and edge >= 0]
    return ((edges[0], edges[1]), (edges[2], edges[3])) if len(edges) == 4 else None


class Windows:
    """The windows of a kernel over an image: output size, padding, and the slice of the padded image under each tap.

    out[n, y, x] sees image[n, y·stride + i·dilation - before, x·stride + j·dilation - before] through tap (i, j); a
    pixel outside the image is 0. `image`, `kernel`, `stride`, `dilation`, `out` are (height, width) pairs; `padding` is
    ((top, bottom), (left, right)). InputError if the kernel does not fit.
    """

    __slots__ = ("dilation", "image", "kernel", "out", "padding", "stride")

    def __init__(self, image: Pair, kernel: Pair, *, stride: Size = 1, padding: Padding = "SAME",
                 dilation: Size = 1) -> None:
        self.image: Pair = (image[0], image[1])
        self.kernel: Pair = (kernel[0], kernel[1])
        self.stride = pair(stride, "stride")
        self.dilation = pair(dilation, "dilation")
        self.padding = padding_of(self.image, self.kernel, self.stride, self.dilation, padding)
        out = tuple((size + before + after - (k - 1) * d - 1) // s + 1 for size, (before, after), k, s, d
                    in zip(self.image, self.padding, self.kernel, self.stride, self.dilation, strict=True))
        if min(self.kernel) < 1 or (min(out) < 1 and min(self.image) > 0):
            raise InputError(f"a kernel of {self.kernel} (dilation {self.dilation}) does not fit an image of "
                             f"{self.image} with padding {self.padding}")
        self.out: Pair = (max(out[0], 0), max(out[1], 0))

    @classmethod
    def with_output(cls, image: Pair, kernel: Pair, out: Pair, *, stride: Pair = (1, 1), dilation: Pair = (1, 1),
                    before: Pair = (0, 0)) -> "Windows":
        """The windows that give `out` outputs and begin `before` pixels before the image.

        The padding follows from these; it is negative where the windows do not reach the image's edge. Such windows
        serve `seen` and the fast paths; `pad` and `crop` are for windows with paddings ≥ 0.
        """
        windows = cls.__new__(cls)
        windows.image, windows.kernel, windows.out = image, kernel, out
        windows.stride, windows.dilation = stride, dilation
        vertical, horizontal = (
            (first, (outputs - 1) * s + (k - 1) * d + 1 - size - first) for size, outputs, k, s, d, first
            in zip(image, out, kernel, stride, dilation, before, strict=True))
        windows.padding = vertical, horizontal
        return windows

    @property
    def before(self) -> Pair:
        """The paddings (top, left)."""
        return self.padding[0][0], self.padding[1][0]

    def seen(self, axis: int, start: int, stop: int) -> Pair:
        """The range (first, last + 1) of pixels that outputs start … stop - 1 along `axis` see; may leave the image."""
        first = start * self.stride[axis] - self.padding[axis][0]
        extent = (stop - start - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis] + 1
        return first, first + extent

    def transposed(self, phase: Pair) -> "Phase":
        """The windows of the input's vjp for one phase: it is a correlation of the cotangent with some of the taps.

        A pixel at `stride`·u + r of the padded image is seen through taps i with i·dilation ≡ r (mod stride) only, and
        through tap i by output u - (i·dilation - r)/stride. So the pixels of one phase r, 0 ≤ r < stride along each
        axis, all see the cotangent in the same way, with stride 1. The stride² phases together are the whole image.
        Source: Dumoulin, Visin (2016), arXiv 1603.07285, chapter 4.
        """
        return _transposed(self, phase)

    def _transposed(self, phase: Pair) -> "Phase":
        """`transposed`, computed anew."""
        axes = [self._transposed_axis(axis, rest) for axis, rest in enumerate(phase)]
        pixels, taps, dilation, before = zip(*axes, strict=True)
        height, width = (len(range(*chosen.indices(size))) for chosen, size in zip(pixels, self.image, strict=True))
        kernel = len(taps[0]), len(taps[1])
        windows = Windows.with_output(self.out, kernel, (height, width), dilation=dilation, before=before)
        return Phase(pixels, taps, windows)

    def _transposed_axis(self, axis: int, rest: int) -> tuple[slice, list[int], int, int]:
        """(pixels, taps, dilation, before) of one axis of a phase."""
        stride, dilation, padding = self.stride[axis], self.dilation[axis], self.padding[axis][0]
        first = (rest - padding) % stride
        pixels = slice(first, None, stride)
        taps = [tap for tap in reversed(range(self.kernel[axis])) if (tap * dilation - rest) % stride == 0]
        if not taps:
            return pixels, taps, 1, 0
        behind = [(tap * dilation - rest) // stride for tap in taps]
        spacing = behind[0] - behind[1] if len(taps) > 1 else 1
        return pixels, taps, spacing, behind[0] - (first + padding) // stride

    def taps(self) -> Iterator[tuple[Pair, tuple[slice, ...]]]:
        """((i, j), index) for every kernel position, row by row; it sees padded[index], (N, out_h, out_w, C)."""
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                rows, columns = self._under(0, i), self._under(1, j)
                yield (i, j), (slice(None), rows, columns, slice(None))

    def _under(self, axis: int, tap: int) -> slice:
        """The pixels of the padded image that all outputs see through `tap` along `axis`."""
        if not self.out[axis]:
            return slice(0, 0)
        first = tap * self.dilation[axis]
        return slice(first, first + (self.out[axis] - 1) * self.stride[axis] + 1, self.stride[axis])

    def pad(self, x: Array, value: float = 0.0) -> Array:
        """`x` (N, H, W, C) framed by `value`."""
        (top, bottom), (left, right) = self.padding
        if not top + bottom + left + right:
            return x
        n, h, w, c = x.shape
        framed = namespace(x).full((n, top + h + bottom, left + w + right, c), value, dtype=x.dtype)
        framed[:, top:top + h, left:left + w, :] = x
        return framed

    def padded_zeros(self, like: Array, images: int, channels: int) -> Array:
        """Zeros (images, H, W, channels) of the padded image's height and width, in the namespace and dtype of `like`.

        Input gradients are added up in it.
        """
        (top, bottom), (left, right) = self.padding
        shape = (images, top + self.image[0] + bottom, left + self.image[1] + right, channels)
        return namespace(like).zeros(shape, dtype=like.dtype)

    def crop(self, framed: Array) -> Array:
        """The image without its frame."""
        top, left = self.before
        return framed[:, top:top + self.image[0], left:left + self.image[1], :]


class Phase(NamedTuple):
    """One phase of a transposed convolution: see `Windows.transposed`.

    pixels: two slices of the image's axes; taps: per axis the kernel positions used, last first (the kernel turned
    around); windows: how the phase's pixels see the cotangent (its kernel has a 0 where there is no tap: these pixels
    get 0).
    """

    pixels: tuple[slice, slice]
    taps: tuple[list[int], list[int]]
    windows: Windows


@functools.lru_cache(maxsize=4096)
def _transposed(windows: Windows, phase: Pair) -> Phase:
    return windows._transposed(phase)


def windows_of(image: Pair, kernel: Pair, *, stride: Size = 1, padding: Padding = "SAME",
               dilation: Size = 1) -> Windows:
    """`Windows` of these arguments, which are checked at every call; the same object for the same numbers."""
    stride = pair(stride, "stride")
    dilation = pair(dilation, "dilation")
    if not (isinstance(padding, str) and padding in ("SAME", "VALID")):
        padding = padding_of(image, kernel, stride, dilation, padding)
    return _cached_windows(tuple(image), tuple(kernel), stride, dilation, padding)


@functools.lru_cache(maxsize=4096)
def _cached_windows(image: Pair, kernel: Pair, stride: Pair, dilation: Pair, padding: Any) -> Windows:
    return Windows(image, kernel, stride=stride, padding=padding, dilation=dilation)
