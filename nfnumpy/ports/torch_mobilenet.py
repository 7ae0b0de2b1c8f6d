"""MobileNet, versions 1 and 2, in PyTorch, from the fields of a MobileNetV1Config or a MobileNetV2Config.

Sources: Howard et al. (2017), arXiv 1704.04861; Sandler et al. (2018), arXiv 1801.04381.
Test: reference_tests/models/test_mobilenets_against_torch.py.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .torch import Linear
from .torch_parts import ConvNorm


class DepthwiseSeparable(nn.Module):
    """Version 1: depthwise 3×3 → relu6 → 1×1 → relu6."""

    def __init__(self, config: Any, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.depthwise = ConvNorm(in_channels, in_channels, 3, stride, groups=in_channels, norm=config.norm)
        self.pointwise = ConvNorm(in_channels, out_channels, 1, norm=config.norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu6(self.pointwise(F.relu6(self.depthwise(x))))


class MobileNetV1(nn.Module):
    """Normalized images (N, C, H, W) in, logits out."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        channels = config.stem_width
        self.initial_conv = ConvNorm(config.in_channels, channels, 3, config.stem_stride, norm=config.norm)
        self.blocks = nn.ModuleList()
        for width, depth, stride in zip(config.widths, config.depths, config.strides, strict=True):
            for position in range(depth):
                self.blocks.append(DepthwiseSeparable(config, channels, width, stride if position == 0 else 1))
                channels = width
        self.dropout = nn.Dropout(config.drop_rate)
        self.linear = Linear(channels, config.num_classes, std=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self.initial_conv(x))
        for block in self.blocks:
            x = block(x)
        return self.linear(self.dropout(x.mean(dim=(2, 3))))


class InvertedResidual(nn.Module):
    """Version 2: 1×1 → relu6 → depthwise 3×3 → relu6 → 1×1, added to the input where the shapes are equal."""

    def __init__(self, config: Any, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        width, norm = in_channels * expansion, config.norm
        self.conv0 = ConvNorm(in_channels, width, 1, norm=norm) if expansion > 1 else None
        self.conv1 = ConvNorm(width, width, 3, stride, groups=width, norm=norm)
        self.conv2 = ConvNorm(width, out_channels, 1, norm=norm)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = x if self.conv0 is None else F.relu6(self.conv0(x))
        out = self.conv2(F.relu6(self.conv1(out)))
        return x + out if self.is_residual else out


class MobileNetV2(nn.Module):
    """Normalized images (N, C, H, W) in, logits out."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        channels = config.stem_width
        self.initial_conv = ConvNorm(config.in_channels, channels, 3, config.stem_stride, norm=config.norm)
        self.blocks = nn.ModuleList()
        for width, depth, stride, expansion in zip(config.widths, config.depths, config.strides, config.expansions,
                                                   strict=True):
            for position in range(depth):
                self.blocks.append(InvertedResidual(config, channels, width, stride if position == 0 else 1, expansion))
                channels = width
        self.final_conv = ConvNorm(channels, config.head_width, 1, norm=config.norm)
        self.dropout = nn.Dropout(config.drop_rate)
        self.linear = Linear(config.head_width, config.num_classes, std=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self.initial_conv(x))
        for block in self.blocks:
            x = block(x)
        x = F.relu6(self.final_conv(x))
        return self.linear(self.dropout(x.mean(dim=(2, 3))))
