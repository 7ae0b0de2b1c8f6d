"""Fixup ResNet in PyTorch, from the fields of a FixupResNetConfig.

Source: Zhang, Dauphin, Ma (2019), arXiv 1901.09321. Test: reference_tests/models/test_resnets_against_torch.py.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .torch import Linear
from .torch_parts import StochasticDepth, make_blocks, plain_conv


class Bias(nn.Module):
    """x + bias, one number for all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.bias


class Multiplier(Bias):
    """scale·x + bias."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale + self.bias


class Block(nn.Module):
    """relu(shortcut + branch); a shortcut that projects sees the input after the first bias, any other before it."""

    def __init__(self, config: Any, in_channels: int, out_channels: int, stride: int, drop_rate: float) -> None:
        super().__init__()
        basic = config.block == "basic"
        inner = out_channels if basic else int(out_channels * config.bottleneck_ratio)
        self.bias0a, self.bias0b, self.bias1a = Bias(), Bias(), Bias()
        self.conv0 = plain_conv(in_channels, inner, 3 if basic else 1, stride if basic else 1)
        self.conv1 = plain_conv(inner, inner, 3, 1 if basic else stride)
        self.multiplier = Multiplier()
        after_first_bias = [self.conv0, self.bias0b, nn.ReLU(), self.bias1a, self.conv1]
        if basic:
            last = self.conv1
        else:
            self.bias1b, self.bias2a = Bias(), Bias()
            self.conv2 = last = plain_conv(inner, out_channels, 1)
            after_first_bias += [self.bias1b, nn.ReLU(), self.bias2a, self.conv2]
        self.after_first_bias = [*after_first_bias, self.multiplier]
        self.conv_shortcut: nn.Module | None = None
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = plain_conv(in_channels, out_channels, 1, stride)
        self.stochastic_depth = StochasticDepth(drop_rate)
        # All but the last of m convolutions start as those of He initialization times L^(-1/(2m - 2)), L blocks.
        convolutions = [layer for layer in self.after_first_bias if isinstance(layer, nn.Conv2d)]
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            for layer in convolutions[:-1]:
                layer.weight *= sum(config.depths) ** (-1 / (2 * len(convolutions) - 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bias0a(x)
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(out)
        for layer in self.after_first_bias:
            out = layer(out)
        return F.relu(shortcut + self.stochastic_depth(out))


class FixupResNet(nn.Module):
    """Normalized images (N, C, H, W) in, logits out."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.initial_conv = plain_conv(config.in_channels, config.stem_width, config.stem_kernel, config.stem_stride)
        self.initial_bias = Bias()
        self.pool = nn.MaxPool2d(3, 2, padding=1) if config.stem_pool else nn.Identity()
        self.blocks = make_blocks(Block, config, config.stem_width)
        self.final_bias = Bias()
        self.dropout = nn.Dropout(config.drop_rate)
        self.linear = Linear(config.widths[-1], config.num_classes, std=0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(F.relu(self.initial_bias(self.initial_conv(x))))
        for block in self.blocks:
            x = block(x)
        return self.linear(self.dropout(self.final_bias(x.mean(dim=(2, 3)))))
