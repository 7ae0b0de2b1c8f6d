"""SkipInit ResNet in PyTorch, from the fields of a SkipInitResNetConfig.

Source: De, Smith (2020), arXiv 2002.10444. Test: reference_tests/models/test_resnets_against_torch.py.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .torch import Linear, StochasticDepth
from .torch_parts import make_blocks


def he_conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution with a bias of 0 and weights N(0, 2/fan_in), padded on both sides alike."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2)
    nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
    if conv.bias is not None:  # as PyTorch's annotation allows
        nn.init.zeros_(conv.bias)
    return conv


class Block(nn.Module):
    """shortcut + skip_gain·branch of relu, 1×1, relu, 3×3, relu, 1×1."""

    def __init__(self, config: Any, in_channels: int, out_channels: int, stride: int, drop_rate: float) -> None:
        super().__init__()
        width = int(out_channels * config.bottleneck_ratio)
        self.conv0 = he_conv(in_channels, width, 1)
        self.conv1 = he_conv(width, width, 3, stride)
        self.conv2 = he_conv(width, out_channels, 1)
        self.conv_shortcut: nn.Module | None = None
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = he_conv(in_channels, out_channels, 1, stride)
        self.stochastic_depth = StochasticDepth(drop_rate)
        self.skip_gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        activated = F.relu(x)
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(activated)
        residual = self.conv2(F.relu(self.conv1(F.relu(self.conv0(activated)))))
        return shortcut + self.skip_gain * self.stochastic_depth(residual)


class SkipInitResNet(nn.Module):
    """Normalized images (N, C, H, W) in, logits out."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.initial_conv = he_conv(config.in_channels, config.stem_width, config.stem_kernel, config.stem_stride)
        self.pool = nn.MaxPool2d(3, 2, padding=1) if config.stem_pool else nn.Identity()
        self.blocks = make_blocks(Block, config, config.stem_width)
        self.dropout = nn.Dropout(config.drop_rate)
        self.linear = Linear(config.widths[-1], config.num_classes, std=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.initial_conv(x))
        for block in self.blocks:
            x = block(x)
        return self.linear(self.dropout(F.relu(x).mean(dim=(2, 3))))
