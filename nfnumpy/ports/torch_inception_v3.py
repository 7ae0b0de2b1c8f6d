"""Inception v3 in PyTorch, from the fields of an InceptionV3Config; without the auxiliary classifier.

Source: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna (2015), arXiv 1512.00567.
Test: reference_tests/models/test_history_against_torch.py.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .torch import Linear
from .torch_parts import create_norm

Kernel = int | tuple[int, int]


class ConvNorm(nn.Module):
    """relu(norm(conv(x))); padding=True keeps the size of the image."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Kernel = 1, stride: int = 1,
                 padding: bool = True) -> None:
        super().__init__()
        sizes = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        self.conv = nn.Conv2d(in_channels, out_channels, sizes, stride,
                              (sizes[0] // 2, sizes[1] // 2) if padding else 0, bias=False)
        self.norm = create_norm("batch_keras", out_channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.conv(x)))


def branch(in_channels: int, *layers: tuple[Any, ...]) -> nn.Sequential:
    """ConvNorm after ConvNorm, from (out_channels, kernel_size, stride, padding), the last three optional."""
    channels = [in_channels, *(layer[0] for layer in layers)]
    return nn.Sequential(*(ConvNorm(channels[k], *layer) for k, layer in enumerate(layers)))


def average(x: torch.Tensor) -> torch.Tensor:
    """PyTorch's default counts the padding, as the released network does."""
    return F.avg_pool2d(x, 3, 1, padding=1)


class ModuleA(nn.Module):
    """Four branches on 35×35 pixels."""

    def __init__(self, config: Any, channels: int, width: int) -> None:
        super().__init__()
        w = config.width
        self.branch1x1 = branch(channels, (w(64),))
        self.branch5x5 = branch(channels, (w(48),), (w(64), 5))
        self.branch3x3_3x3 = branch(channels, (w(64),), (w(96), 3), (w(96), 3))
        self.branch_pool = branch(channels, (w(width),))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.branch1x1(x), self.branch5x5(x), self.branch3x3_3x3(x), self.branch_pool(average(x))], 1)


class ModuleB(nn.Module):
    """From 35×35 to 17×17 pixels."""

    def __init__(self, config: Any, channels: int) -> None:
        super().__init__()
        w = config.width
        self.branch3x3 = branch(channels, (w(384), 3, 2, False))
        self.branch3x3_3x3 = branch(channels, (w(64),), (w(96), 3), (w(96), 3, 2, False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.branch3x3(x), self.branch3x3_3x3(x), F.max_pool2d(x, 3, 2)], 1)


class ModuleC(nn.Module):
    """Kernels of 7×7 as 1×7 and 7×1: one pair in one branch, two in another."""

    def __init__(self, config: Any, channels: int, width: int) -> None:
        super().__init__()
        w, inner = config.width, config.width(width)
        self.branch1x1 = branch(channels, (w(192),))
        self.branch7x7 = branch(channels, (inner,), (inner, (1, 7)), (w(192), (7, 1)))
        self.branch7x7_7x7 = branch(channels, (inner,), (inner, (7, 1)), (inner, (1, 7)), (inner, (7, 1)),
                                    (w(192), (1, 7)))
        self.branch_pool = branch(channels, (w(192),))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.branch1x1(x), self.branch7x7(x), self.branch7x7_7x7(x), self.branch_pool(average(x))], 1)


class ModuleD(nn.Module):
    """From 17×17 to 8×8 pixels."""

    def __init__(self, config: Any, channels: int) -> None:
        super().__init__()
        w = config.width
        self.branch3x3 = branch(channels, (w(192),), (w(320), 3, 2, False))
        self.branch7x7_3x3 = branch(channels, (w(192),), (w(192), (1, 7)), (w(192), (7, 1)), (w(192), 3, 2, False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.branch3x3(x), self.branch7x7_3x3(x), F.max_pool2d(x, 3, 2)], 1)


class ModuleE(nn.Module):
    """Two branches end in a 1×3 and a 3×1 that see the same input."""

    def __init__(self, config: Any, channels: int) -> None:
        super().__init__()
        w = config.width
        self.branch1x1 = branch(channels, (w(320),))
        self.branch3x3 = branch(channels, (w(384),))
        self.branch3x3_1x3 = branch(w(384), (w(384), (1, 3)))
        self.branch3x3_3x1 = branch(w(384), (w(384), (3, 1)))
        self.branch3x3_3x3 = branch(channels, (w(448),), (w(384), 3))
        self.branch3x3_3x3_1x3 = branch(w(384), (w(384), (1, 3)))
        self.branch3x3_3x3_3x1 = branch(w(384), (w(384), (3, 1)))
        self.branch_pool = branch(channels, (w(192),))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        once, twice = self.branch3x3(x), self.branch3x3_3x3(x)
        return torch.cat([self.branch1x1(x), self.branch3x3_1x3(once), self.branch3x3_3x1(once),
                          self.branch3x3_3x3_1x3(twice), self.branch3x3_3x3_3x1(twice),
                          self.branch_pool(average(x))], 1)


class InceptionV3(nn.Module):
    """Normalized images (N, C, H, W) in, logits out."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        w = config.width
        self.stem_convs = branch(config.in_channels, (w(32), 3, 2, False), (w(32), 3, 1, False), (w(64), 3), (w(80),),
                                 (w(192), 3, 1, False))
        self.blocks = nn.ModuleList()
        channels = w(192)
        for width in config.pool_widths:
            self.blocks.append(ModuleA(config, channels, width))
            channels = w(64) + w(64) + w(96) + w(width)
        self.blocks.append(ModuleB(config, channels))
        channels += w(384) + w(96)
        for width in config.factorized_widths:
            self.blocks.append(ModuleC(config, channels, width))
            channels = 4 * w(192)
        self.blocks.append(ModuleD(config, channels))
        channels += w(320) + w(192)
        for _ in range(config.expanded_modules):
            self.blocks.append(ModuleE(config, channels))
            channels = w(320) + 4 * w(384) + w(192)
        self.dropout = nn.Dropout(config.drop_rate)
        self.linear = Linear(channels, config.num_classes, std=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.stem_convs[:3](x), 3, 2)
        x = F.max_pool2d(self.stem_convs[3:](x), 3, 2)
        for block in self.blocks:
            x = block(x)
        return self.linear(self.dropout(x.mean(dim=(2, 3))))
