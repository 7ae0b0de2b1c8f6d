"""DenseNet-BC in PyTorch, from the fields of a DenseNetConfig.

Source: Huang, Liu, van der Maaten, Weinberger (2017), arXiv 1608.06993.
Test: reference_tests/models/test_history_against_torch.py.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .torch import Linear


def convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without a bias, padded on both sides alike, N(0, 2/fan_out) at first."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


class DenseLayer(nn.Module):
    """New channels from the list of everything before them; the block concatenates that list anew for each layer."""

    def __init__(self, config: Any, in_channels: int) -> None:
        super().__init__()
        width = config.bottleneck * config.growth
        self.norm0 = nn.BatchNorm2d(in_channels)
        self.conv0 = convolution(in_channels, width, 1)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv1 = convolution(width, config.growth, 3)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        x = self.conv0(F.relu(self.norm0(torch.cat(features, dim=1))))
        return self.conv1(F.relu(self.norm1(x)))


class DenseBlock(nn.Module):
    """All feature maps of its layers, and its input before them."""

    def __init__(self, config: Any, in_channels: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(config, in_channels + k * config.growth) for k in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(features))
        return torch.cat(features, dim=1)


class Transition(nn.Module):
    """Fewer channels, and half the pixels: the average pool comes after the convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm0 = nn.BatchNorm2d(in_channels)
        self.conv0 = convolution(in_channels, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(self.conv0(F.relu(self.norm0(x))), 2)


class Stem(nn.Module):
    """A convolution and its norm."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = convolution(in_channels, out_channels, 7, 2)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(F.relu(self.norm(self.conv(x))), 3, 2, padding=1)


class DenseNet(nn.Module):
    """Normalized images (N, C, H, W) in, logits out."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        channels = 2 * config.growth
        self.initial_conv = Stem(config.in_channels, channels)
        self.blocks = nn.ModuleList()
        for depth in config.depths:
            if len(self.blocks):
                kept = int(channels * config.compression)
                self.blocks.append(Transition(channels, kept))
                channels = kept
            self.blocks.append(DenseBlock(config, channels, depth))
            channels += depth * config.growth
        self.final_norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(config.drop_rate)
        self.linear = Linear(channels, config.num_classes, std=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.initial_conv(x)
        for block in self.blocks:
            x = block(x)
        x = F.relu(self.final_norm(x))
        return self.linear(self.dropout(x.mean(dim=(2, 3))))
