"""ResNeXt, SE-ResNeXt and SE-ResNeXt-D in PyTorch, from the fields of their configurations.

Sources: arXiv 1611.05431, 1709.01507, 1812.01187. Test: reference_tests/models/test_resnets_against_torch.py.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .torch_parts import ConvNorm, SqueezeExcite, StochasticDepth
from .torch_resnet import ResNet
from .torch_resnet_d import ResNetD, pooled_shortcut


class Block(nn.Module):
    """relu(shortcut + branch of 1×1, grouped 3×3, 1×1); a projecting shortcut is a strided 1×1."""

    def __init__(self, config: Any, in_channels: int, out_channels: int, stride: int, drop_rate: float) -> None:
        super().__init__()
        # Groups become wider with the stages, in proportion; there are as many in each.
        width = config.groups * (config.group_width * out_channels // config.widths[0])
        self.conv0 = ConvNorm(in_channels, width, 1, norm=config.norm)
        self.conv1 = ConvNorm(width, width, 3, stride, groups=config.groups, norm=config.norm)
        self.conv2 = ConvNorm(width, out_channels, 1, norm=config.norm)
        self.squeeze_excite: nn.Module = nn.Identity()
        self.conv_shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = ConvNorm(in_channels, out_channels, 1, stride, norm=config.norm)
        self.stochastic_depth = StochasticDepth(drop_rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        residual = self.conv2(F.relu(self.conv1(F.relu(self.conv0(x)))))
        return F.relu(self.conv_shortcut(x) + self.stochastic_depth(self.squeeze_excite(residual)))


class SEBlock(Block):
    """The branch ends with squeeze-and-excite, whose gate is not doubled."""

    def __init__(self, config: Any, in_channels: int, out_channels: int, stride: int, drop_rate: float) -> None:
        super().__init__(config, in_channels, out_channels, stride, drop_rate)
        self.squeeze_excite = SqueezeExcite(out_channels, config.se_ratio)


class SEBlockD(SEBlock):
    """As above, with ResNet-D's shortcut."""

    def __init__(self, config: Any, in_channels: int, out_channels: int, stride: int, drop_rate: float) -> None:
        super().__init__(config, in_channels, out_channels, stride, drop_rate)
        self.conv_shortcut = pooled_shortcut(in_channels, out_channels, stride, config.norm)


class ResNeXt(ResNet):
    """A ResNet of grouped bottlenecks."""

    block = Block


class SEResNeXt(ResNet):
    """A ResNeXt with squeeze-and-excite."""

    block = SEBlock


class SEResNeXtD(ResNetD):
    """An SE-ResNeXt with ResNet-D's stem and shortcuts."""

    block = SEBlockD
