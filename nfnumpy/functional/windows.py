"""Where windows fall on an image: the sizes and paddings that convolution and pooling share."""

import numbers
from collections.abc import Sequence

from ..backend import namespace
from ..errors import InputError


def pair(value, name):
    """A whole number or a pair of them, as a pair of positive numbers; InputError says which `name` was wrong."""
    values = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(values) != 2 or not all(isinstance(v, numbers.Integral) and v > 0 for v in values):
        raise InputError(f"{name}: expected a positive whole number or a pair of them, got {value!r}")
    return int(values[0]), int(values[1])


def same_padding(size, kernel, stride, dilation=1):
    """(before, after) so that out = ceil(size/stride); the odd pixel goes after, as in TensorFlow."""
    out = -(-size // stride)
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def padding_of(image, kernel, stride, dilation, padding):
    """`padding` ("SAME", "VALID", a number, or ((top, bottom), (left, right))) as the last of these forms."""
    if padding == "SAME":
        return tuple(same_padding(*axis) for axis in zip(image, kernel, stride, dilation))
    if padding == "VALID":
        return (0, 0), (0, 0)
    if isinstance(padding, int) and padding >= 0:
        return (padding, padding), (padding, padding)
    try:
        (top, bottom), (left, right) = padding
        explicit = (int(top), int(bottom)), (int(left), int(right))
    except (TypeError, ValueError):
        explicit = None
    if explicit is None or min(explicit[0] + explicit[1]) < 0:
        raise InputError(f"padding: expected 'SAME', 'VALID', a number ≥ 0 or ((top, bottom), (left, right)), "
                         f"got {padding!r}")
    return explicit


class Windows:
    """The windows of a kernel over an image: output size, padding, and the slice of the padded image under each tap.

    `image`, `kernel`, `stride`, `dilation` are (height, width) pairs; InputError if the kernel does not fit.
    """

    def __init__(self, image, kernel, *, stride=1, padding="SAME", dilation=1):
        self.image, self.kernel = tuple(image), tuple(kernel)
        self.stride, self.dilation = pair(stride, "stride"), pair(dilation, "dilation")
        self.padding = padding_of(self.image, self.kernel, self.stride, self.dilation, padding)
        self.out = tuple((size + before + after - (k - 1) * d - 1) // s + 1 for size, (before, after), k, s, d
                         in zip(self.image, self.padding, self.kernel, self.stride, self.dilation))
        if min(self.out) < 1 and min(self.image) > 0:
            raise InputError(f"a kernel of {self.kernel} (dilation {self.dilation}) does not fit an image of "
                             f"{self.image} with padding {self.padding}")
        self.out = tuple(max(size, 0) for size in self.out)

    def taps(self):
        """((i, j), index) for every kernel position, row by row; it sees padded[index], (N, out_h, out_w, C)."""
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                rows, columns = (slice(t * d, t * d + (o - 1) * s + 1, s) if o else slice(0, 0) for t, d, o, s
                                 in zip((i, j), self.dilation, self.out, self.stride))
                yield (i, j), (slice(None), rows, columns, slice(None))

    def pad(self, x, value=0.0):
        """`x` (N, H, W, C) framed by `value`."""
        (top, bottom), (left, right) = self.padding
        if not top + bottom + left + right:
            return x
        xp, (n, h, w, c) = namespace(x), x.shape
        framed = xp.full((n, top + h + bottom, left + w + right, c), value, dtype=x.dtype)
        framed[:, top:top + h, left:left + w, :] = x
        return framed

    def padded_zeros(self, like):
        """Zeros of the padded image's shape, with the batch, channels and dtype of `like`: where gradients add up."""
        (top, bottom), (left, right) = self.padding
        shape = (like.shape[0], top + self.image[0] + bottom, left + self.image[1] + right, like.shape[3])
        return namespace(like).zeros(shape, dtype=like.dtype)

    def crop(self, framed):
        """The image without its frame."""
        (top, _), (left, _) = self.padding
        return framed[:, top:top + self.image[0], left:left + self.image[1], :]
