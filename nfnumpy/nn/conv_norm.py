"""A convolution and the normalization of its output, as most networks with normalizations pair them.

Used by: models/. Test: reference_tests/nn/test_normalization.py.
"""

from collections.abc import Callable
from typing import Any

from ..autograd import Tensor
from .batch_norm import BatchNorm
from .initialization import Initializer
from .layers import Conv2D, Nonlinearity
from .mode import EVALUATION, Mode
from .module import Module
from .normalization import create_norm


def activated(norm: Any, x: Tensor, mode: Mode, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """activation(norm(x, mode)); of a BatchNorm and a Nonlinearity as one, see `BatchNorm.activated`."""
    # A subclass, such as the auditor makes to change one layer, is called itself.
    if type(norm) is BatchNorm and type(activation) is Nonlinearity:
        return norm.activated(x, mode, activation)
    return activation(norm(x, mode))


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

    def __call__(self, x: Tensor, mode: Mode = EVALUATION,
                 activation: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """norm(conv(x)), or activation(norm(conv(x)))."""
        out = self.conv(x)
        return self.norm(out, mode) if activation is None else activated(self.norm, out, mode, activation)
