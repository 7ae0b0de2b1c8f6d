"""What residual networks share: the order of their blocks, the sum of shortcut and branch, bottlenecks in words.

Used by: models/resnet.py and the files of its descendants, efficientnet.py, skip_init.py.
Test: reference_tests/models/test_resnets_against_torch.py.
"""

from collections.abc import Iterator
from typing import Any

from ..autograd import Tensor
from ..nn import EVALUATION, Conv2D, Initializer, Mode, Nonlinearity, StochasticDepth
from .base import ResidualBlock


class SumBlock(ResidualBlock):
    """A residual block whose output is the sum of shortcut and branch."""

    stochastic_depth: StochasticDepth

    def add_residual(self, shortcut: Tensor, residual: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """shortcut + stochastic_depth(residual)."""
        return shortcut + self.stochastic_depth(residual, mode)


class PostActivationBlock(SumBlock):
    """A residual block whose nonlinearity comes after the sum: the next block, and its shortcut, start from it."""

    activation: Nonlinearity

    def add_residual(self, shortcut: Tensor, residual: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """activation(shortcut + stochastic_depth(residual))."""
        return self.activation.of_sum(shortcut, self.stochastic_depth(residual, mode))


def block_positions(config: Any) -> Iterator[tuple[int, int, float]]:
    """Yield (output channels, stride, drop rate) of every block in order.

    config: has widths, depths, strides, one value a stage, and stochdepth_rate. A stage's first block has its stride.
    The drop rate grows linearly, as in the normalizer-free networks: `stochdepth_rate` · index/number of blocks.
    """
    total = sum(config.depths)
    index = 0
    for width, depth, stride in zip(config.widths, config.depths, config.strides, strict=True):
        for position in range(depth):
            yield width, stride if position == 0 else 1, config.stochdepth_rate * index / total
            index += 1


def plain_conv(init: Initializer, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> Conv2D:
    """A convolution without a bias, padded on both sides alike, with He initialization over the fan-out."""
    return Conv2D(init, in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False,
                  initial="fan_out")


def bottleneck_in_words(first: Conv2D, middle: Conv2D, last: Conv2D) -> str:
    """The channels, the width and the groups inside the branch, and the stride, of its three convolutions."""
    groups = f" in {middle.groups} groups" if middle.groups > 1 else ""
    return f"{first.weight.shape[2]} -> {last.weight.shape[3]}, bottleneck {middle.weight.shape[3]}{groups}, " \
           f"stride {middle.stride}"
