"""A convolution and the normalization of its output, as most networks with normalizations pair them.

Used by: models/. Test: reference_tests/nn/test_normalization.py.
"""

from typing import Any

from ..autograd import Tensor
from .initialization import Initializer
from .layers import Conv2D
from .mode import EVALUATION, Mode
from .module import Module
from .normalization import create_norm


class ConvNorm(Module):
    """norm(conv(x)), the convolution without a bias and with He initialization over the fan-out.

    norm: a name that `create_norm` takes; geometry: stride, padding, dilation, groups, as Conv2D takes them.
    """

    FOLDABLE = (("conv", "norm"),)

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], *,
                 norm: str = "batch", initial_gamma: float = 1.0, **geometry: Any) -> None:
        self.conv = Conv2D(init.scope("conv"), in_channels, out_channels, kernel_size, bias=False, initial="fan_out",
                           **geometry)
        self.norm = create_norm(init.scope("norm"), out_channels, norm, initial_gamma=initial_gamma)

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        return self.norm(self.conv(x), mode)
