"""EfficientNet in PyTorch, from the fields of an EfficientNetConfig.

Source: Tan, Le (2019), arXiv 1905.11946, and the authors' released code. Each comment names the mistake that ports make
at that line. Test: reference_tests/models/test_efficientnet_against_torch.py.
"""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .torch import conv2d_same
from .torch_parts import StochasticDepth, create_norm


class ConvNorm(nn.Module):
    """norm(conv(x)) with SAME padding, which is not symmetric at stride 2 and an even size; N(0, 2/fan_out) at first.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1,
                 norm: str = "batch_keras") -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, groups=groups, bias=False)
        self.norm = create_norm(norm, out_channels)
        # nn.init.kaiming_normal_(mode="fan_out") does not know of groups: depthwise kernels would start too small.
        nn.init.normal_(self.conv.weight, std=math.sqrt(2.0 * groups / (kernel_size**2 * out_channels)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(conv2d_same(x, self.conv.weight, self.conv.bias, self.conv.stride[0], self.conv.groups))


class SqueezeExcite(nn.Module):
    """x · sigmoid(fc1(silu(fc0(mean over the image)))), without the factor 2 of normalizer-free networks."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc0 = nn.Linear(channels, hidden)
        self.fc1 = nn.Linear(hidden, channels)
        for layer in (self.fc0, self.fc1):
            nn.init.normal_(layer.weight, std=math.sqrt(2.0 / layer.out_features))
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = torch.sigmoid(self.fc1(F.silu(self.fc0(x.mean(dim=(2, 3))))))
        return x * gate[:, :, None, None]


class MBConv(nn.Module):
    """The inverted bottleneck, added to its input where the shapes are equal."""

    def __init__(self, config: Any, in_channels: int, out_channels: int, *, stride: int, kernel: int, expansion: int,
                 drop_rate: float) -> None:
        super().__init__()
        width, norm = in_channels * expansion, config.norm
        self.conv0 = ConvNorm(in_channels, width, 1, norm=norm) if expansion > 1 else None
        self.conv1 = ConvNorm(width, width, kernel, stride, groups=width, norm=norm)
        # A share of the block's input channels, not of the wide ones.
        self.squeeze_excite = SqueezeExcite(width, max(1, int(in_channels * config.se_ratio)))
        self.conv2 = ConvNorm(width, out_channels, 1, norm=norm)
        self.is_residual = stride == 1 and in_channels == out_channels
        self.stochastic_depth = StochasticDepth(drop_rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = x if self.conv0 is None else F.silu(self.conv0(x))
        out = self.squeeze_excite(F.silu(self.conv1(out)))
        out = self.conv2(out)  # no nonlinearity after it
        return x + self.stochastic_depth(out) if self.is_residual else out


class EfficientNet(nn.Module):
    """Normalized images (N, C, H, W) in, logits out."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        channels = config.stem_width
        self.initial_conv = ConvNorm(config.in_channels, channels, 3, config.stem_stride, norm=config.norm)
        self.blocks = nn.ModuleList()
        for width, depth, stride, kernel, expansion in zip(config.widths, config.depths, config.strides, config.kernels,
                                                           config.expansions, strict=True):
            for position in range(depth):
                # The index counts all blocks, those without a shortcut too.
                rate = config.stochdepth_rate * len(self.blocks) / sum(config.depths)
                self.blocks.append(MBConv(config, channels, width, stride=stride if position == 0 else 1, kernel=kernel,
                                          expansion=expansion, drop_rate=rate))
                channels = width
        self.final_conv = ConvNorm(channels, config.head_width, 1, norm=config.norm)
        self.dropout = nn.Dropout(config.drop_rate)
        self.linear = nn.Linear(config.head_width, config.num_classes)
        bound = 1.0 / math.sqrt(config.num_classes)
        nn.init.uniform_(self.linear.weight, -bound, bound)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.silu(self.initial_conv(x))
        for block in self.blocks:
            x = block(x)
        x = F.silu(self.final_conv(x))
        return self.linear(self.dropout(x.mean(dim=(2, 3))))
