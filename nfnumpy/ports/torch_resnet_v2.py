"""ResNet version 2 (pre-activation) in PyTorch, from the fields of a ResNetV2Config.

Source: He, Zhang, Ren, Sun (2016), arXiv 1603.05027. Test: reference_tests/models/test_resnets_against_torch.py.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .torch import Linear
from .torch_parts import StochasticDepth, create_norm, make_blocks, plain_conv


class Block(nn.Module):
    """shortcut + branch, a list of norm, relu and convolution; a shortcut that projects starts after the first relu."""

    def __init__(self, config: Any, in_channels: int, out_channels: int, stride: int, drop_rate: float) -> None:
        super().__init__()
        inner = out_channels if config.block == "basic" else int(out_channels * config.bottleneck_ratio)
        self.norm0 = create_norm(config.norm, in_channels)
        self.norm1 = create_norm(config.norm, inner)
        if config.block == "basic":
            self.conv0 = plain_conv(in_channels, inner, 3, stride)
            self.conv1 = plain_conv(inner, out_channels, 3)
            self.after_first_conv = [self.norm1, nn.ReLU(), self.conv1]
        else:
            self.conv0 = plain_conv(in_channels, inner, 1)
            self.conv1 = plain_conv(inner, inner, 3, stride)
            self.norm2 = create_norm(config.norm, inner)
            self.conv2 = plain_conv(inner, out_channels, 1)
            self.after_first_conv = [self.norm1, nn.ReLU(), self.conv1, self.norm2, nn.ReLU(), self.conv2]
        self.conv_shortcut: nn.Module | None = None
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = plain_conv(in_channels, out_channels, 1, stride)
        self.stochastic_depth = StochasticDepth(drop_rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        activated = F.relu(self.norm0(x))
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(activated)
        residual = self.conv0(activated)
        for layer in self.after_first_conv:
            residual = layer(residual)
        return shortcut + self.stochastic_depth(residual)


class ResNetV2(nn.Module):
    """Normalized images (N, C, H, W) in, logits out."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.initial_conv = plain_conv(config.in_channels, config.stem_width, config.stem_kernel, config.stem_stride)
        self.pool = nn.MaxPool2d(3, 2, padding=1) if config.stem_pool else nn.Identity()
        self.blocks = make_blocks(Block, config, config.stem_width)
        self.final_norm = create_norm(config.norm, config.widths[-1])
        self.dropout = nn.Dropout(config.drop_rate)
        self.linear = Linear(config.widths[-1], config.num_classes, std=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.initial_conv(x))
        for block in self.blocks:
            x = block(x)
        return self.linear(self.dropout(F.relu(self.final_norm(x)).mean(dim=(2, 3))))
