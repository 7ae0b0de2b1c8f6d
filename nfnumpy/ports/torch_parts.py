"""What the PyTorch ports of the networks with normalizations share, in plain torch.nn.

Tests: reference_tests/models/test_resnets_against_torch.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy
import torch
from torch import nn

from .torch import to_torch_layout

# PyTorch's norms name these otherwise.
NAMES = {"gamma": "weight", "beta": "bias", "running_variance": "running_var"}


def create_norm(name: str, channels: int) -> nn.Module:
    """The normalization that nfnumpy.nn.create_norm makes under this name, where PyTorch has it."""
    norms: dict[str, Callable[[], nn.Module]] = {
        "batch": lambda: nn.BatchNorm2d(channels),
        "group": lambda: nn.GroupNorm(32, channels),
    }
    return norms[name]()


class ConvNorm(nn.Module):
    """norm(conv(x)), the convolution without a bias, padded on both sides alike, N(0, 2/fan_out) at first."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1,
                 norm: str = "batch") -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups,
                              bias=False)
        self.norm: Any = create_norm(norm, out_channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

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
