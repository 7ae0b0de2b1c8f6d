"""What the PyTorch ports of the networks with normalizations share, in plain torch.nn.

Tests: reference_tests/models/test_resnets_against_torch.py.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy
import torch
from torch import nn
from torch.nn import functional as F

from .torch import Linear, to_torch_layout

# PyTorch's norms name these otherwise.
NAMES = {"gamma": "weight", "beta": "bias", "running_variance": "running_var"}


class KerasBatchNorm(nn.BatchNorm2d):
    """Batch normalization whose running statistics are Keras's: 0.99 of the old ones, the variance biased.

    PyTorch's layer takes in the unbiased variance, n/(n - 1) times the biased one, whatever its momentum.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        mean, unbiased = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        out = F.batch_norm(x, mean, unbiased, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps)
        values = x.numel() // x.shape[1]
        self.running_mean.lerp_(mean, 0.01)
        self.running_var.lerp_(unbiased * ((values - 1) / values), 0.01)
        return out


class ChannelNorm(nn.LayerNorm):
    """Layer normalization over the channels of each pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def create_norm(name: str, channels: int) -> nn.Module:
    """The normalization that nfnumpy.nn.create_norm makes under this name, where PyTorch has it."""
    norms: dict[str, Callable[[], nn.Module]] = {
        "batch": lambda: nn.BatchNorm2d(channels),
        "batch_keras": lambda: KerasBatchNorm(channels),
        "group": lambda: nn.GroupNorm(math.gcd(32, channels), channels),
        "layer": lambda: nn.GroupNorm(1, channels),
        "layer_channels": lambda: ChannelNorm(channels),
        "instance": lambda: nn.InstanceNorm2d(channels, affine=True),
        "none": nn.Identity,
    }
    return norms[name]()


def plain_conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without a bias, padded on both sides alike, N(0, 2/fan_out) at first."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False)
    nn.init.normal_(conv.weight, std=math.sqrt(2.0 * groups / (kernel_size**2 * out_channels)))
    return conv


class ConvNorm(nn.Module):
    """norm(conv(x))."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1,
                 norm: str = "batch") -> None:
        super().__init__()
        self.conv = plain_conv(in_channels, out_channels, kernel_size, stride, groups)
        self.norm: Any = create_norm(norm, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))


class StochasticDepth(nn.Module):
    """In training, residuals of whole examples become 0 with probability `rate`; others are divided by 1 - rate."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.rate == 0.0:
            return x
        kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.rate
        return x * kept / (1.0 - self.rate)


class SqueezeExcite(nn.Module):
    """x · sigmoid(fc1(relu(fc0(mean over the image)))), with max(1, int(channels·ratio)) hidden units."""

    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__()
        hidden = max(1, int(channels * ratio))
        self.fc0 = Linear(channels, hidden)
        self.fc1 = Linear(hidden, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = torch.sigmoid(self.fc1(F.relu(self.fc0(x.mean(dim=(2, 3))))))
        return x * gate[:, :, None, None]


def make_blocks(block: Callable[..., nn.Module], config: Any, channels: int) -> nn.ModuleList:
    """All blocks of a residual network whose stem gives `channels`: block(config, in, out, stride, drop rate) each."""
    blocks = nn.ModuleList()
    for width, depth, stride in zip(config.widths, config.depths, config.strides, strict=True):
        for position in range(depth):
            rate = config.stochdepth_rate * len(blocks) / sum(config.depths)
            blocks.append(block(config, channels, width, stride if position == 0 else 1, rate))
            channels = width
    return blocks


def port_name(name: str) -> str:
    """The port's name of the reference's parameter or buffer `name`."""
    path, dot, leaf = name.rpartition(".")
    return f"{path}{dot}{NAMES.get(leaf, leaf)}"


def load_state(port: nn.Module, state: Mapping[str, numpy.ndarray]) -> None:
    """Give `port` the parameters and buffers `state` (name -> host array in the reference's layout), all of them.

    PyTorch's counters of batches keep their values.
    """
    counters = {name: value for name, value in port.state_dict().items() if name.endswith("num_batches_tracked")}
    port.load_state_dict({**{port_name(name): to_torch_layout(array) for name, array in state.items()}, **counters})
