"""ResNet-D in PyTorch, from the fields of a ResNetDConfig.

Source: He et al. (2018), arXiv 1812.01187, section 4.2. Test: reference_tests/models/test_resnets_against_torch.py.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .torch import Linear
from .torch_parts import ConvNorm, StochasticDepth, make_blocks


def pooled_shortcut(in_channels: int, out_channels: int, stride: int, norm: str) -> nn.Module:
    """2×2 average pool where there is a stride, then a 1×1; a window at the edge of an odd size has fewer pixels."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    conv = ConvNorm(in_channels, out_channels, 1, norm=norm)
    return ConvNormAfterPool(conv) if stride > 1 else conv


class ConvNormAfterPool(nn.Module):
    """A ConvNorm of the 2×2 means; it has the ConvNorm's names of parameters."""

    def __init__(self, conv: ConvNorm) -> None:
        super().__init__()
        self.conv, self.norm = conv.conv, conv.norm
        self.pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(self.pool(x)))


class Block(nn.Module):
    """relu(shortcut + branch of 1×1, 3×3, 1×1)."""

    def __init__(self, config: Any, in_channels: int, out_channels: int, stride: int, drop_rate: float) -> None:
        super().__init__()
        width = int(out_channels * config.bottleneck_ratio)
        self.conv0 = ConvNorm(in_channels, width, 1, norm=config.norm)
        self.conv1 = ConvNorm(width, width, 3, stride, norm=config.norm)
        self.conv2 = ConvNorm(width, out_channels, 1, norm=config.norm)
        self.conv_shortcut = pooled_shortcut(in_channels, out_channels, stride, config.norm)
        self.stochastic_depth = StochasticDepth(drop_rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        residual = self.conv2(F.relu(self.conv1(F.relu(self.conv0(x)))))
        return F.relu(self.conv_shortcut(x) + self.stochastic_depth(residual))


class ResNetD(nn.Module):
    """Normalized images (N, C, H, W) in, logits out."""

    block: Callable[..., nn.Module] = Block

    def __init__(self, config: Any) -> None:
        super().__init__()
        widths = (config.in_channels, *config.stem_widths)
        self.stem_convs = nn.ModuleList(
            ConvNorm(channels, width, 3, stride, norm=config.norm)
            for channels, width, stride in zip(widths[:-1], widths[1:], config.stem_strides, strict=True))
        self.pool = nn.MaxPool2d(3, 2, padding=1) if config.stem_pool else nn.Identity()
        self.blocks = make_blocks(self.block, config, widths[-1])
        self.dropout = nn.Dropout(config.drop_rate)
        self.linear = Linear(config.widths[-1], config.num_classes, std=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in self.stem_convs:
            x = F.relu(conv(x))
        x = self.pool(x)
        for block in self.blocks:
            x = block(x)
        return self.linear(self.dropout(x.mean(dim=(2, 3))))
