"""ResNet (version 1) in PyTorch, from the fields of a ResNetConfig.

Source: He, Zhang, Ren, Sun (2015), arXiv 1512.03385. Test: reference_tests/models/test_resnets_against_torch.py.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .torch import Linear
from .torch_parts import ConvNorm, StochasticDepth, make_blocks


class Block(nn.Module):
    """relu(shortcut + branch): the branch is a list of convolutions with norms, relu between them."""

    def __init__(self, config: Any, in_channels: int, out_channels: int, stride: int, drop_rate: float) -> None:
        super().__init__()
        norm = config.norm
        if config.block == "basic":
            self.conv0 = ConvNorm(in_channels, out_channels, 3, stride, norm=norm)
            self.conv1 = last = ConvNorm(out_channels, out_channels, 3, norm=norm)
            self.branch = [self.conv0, nn.ReLU(), self.conv1]
        else:
            width = int(out_channels * config.bottleneck_ratio)
            self.conv0 = ConvNorm(in_channels, width, 1, norm=norm)
            self.conv1 = ConvNorm(width, width, 3, stride, norm=norm)
            self.conv2 = last = ConvNorm(width, out_channels, 1, norm=norm)
            self.branch = [self.conv0, nn.ReLU(), self.conv1, nn.ReLU(), self.conv2]
        if config.zero_init_residual:
            nn.init.zeros_(last.norm.weight)
        self.conv_shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = ConvNorm(in_channels, out_channels, 1, stride, norm=norm)
        self.stochastic_depth = StochasticDepth(drop_rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        residual = x
        for layer in self.branch:
            residual = layer(residual)
        return F.relu(self.conv_shortcut(x) + self.stochastic_depth(residual))


class ResNet(nn.Module):
    """Normalized images (N, C, H, W) in, logits out."""

    block: Callable[..., nn.Module] = Block

    def __init__(self, config: Any) -> None:
        super().__init__()
        channels = config.stem_width
        self.initial_conv = ConvNorm(config.in_channels, channels, config.stem_kernel, config.stem_stride,
                                     norm=config.norm)
        self.pool = nn.MaxPool2d(3, 2, padding=1) if config.stem_pool else nn.Identity()
        self.blocks = make_blocks(self.block, config, channels)
        self.dropout = nn.Dropout(config.drop_rate)
        self.linear = Linear(config.widths[-1], config.num_classes, std=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(F.relu(self.initial_conv(x)))
        for block in self.blocks:
            x = block(x)
        return self.linear(self.dropout(x.mean(dim=(2, 3))))
