"""DenseNet-BC: every layer sees what all layers before it in its block gave, and adds a few channels of its own.

Source: Huang, Liu, van der Maaten, Weinberger (2017), arXiv 1608.06993: figure 2 (the network), equation 2 (a dense
layer), section 3 (bottlenecks and compression), table 1 (the variants).
Used by: models/registry.py. Test: reference_tests/models/test_baselines_against_torch.py.
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

from .. import ops
from ..autograd import Tensor
from ..nn import (
    EVALUATION,
    BatchNorm,
    Conv2D,
    ConvNorm,
    Dropout,
    Initializer,
    Linear,
    Mode,
    Module,
    Nonlinearity,
    activated,
)
from .base import Block, ImageClassifier
from .config import check_config


@dataclasses.dataclass(frozen=True)
class DenseNetConfig:
    """What a DenseNet-BC is made of; `depths` are the numbers of layers in each dense block."""

    depths: tuple[int, ...] = (6, 12, 24, 16)
    growth: int = 32  # channels that a dense layer adds, k in the paper
    bottleneck: int = 4  # a layer's 1×1 convolution gives bottleneck·growth channels
    compression: float = 0.5  # the share of the channels that a transition keeps, θ in the paper
    drop_rate: float = 0.0
    num_classes: int = 1000
    in_channels: int = 3
    train_size: int = 224  # pixels
    test_size: int = 224

    EVAL_KEEPS_ASPECT: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_config(self, ("depths",))


class DenseLayer(Module):
    """x and `growth` channels more: norm → relu → 1×1 → norm → relu → 3×3 of x."""

    FOLDABLE = (("conv0", "norm1"),)

    def __init__(self, init: Initializer, in_channels: int, config: DenseNetConfig) -> None:
        width = config.bottleneck * config.growth
        self.activation = Nonlinearity("relu", scaled=False)
        self.norm0 = BatchNorm(init.scope("norm0"), in_channels)
        self.conv0 = Conv2D(init.scope("conv0"), in_channels, width, 1, bias=False, initial="fan_out")
        self.norm1 = BatchNorm(init.scope("norm1"), width)
        self.conv1 = Conv2D(init.scope("conv1"), width, config.growth, 3, bias=False, initial="fan_out")

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        out = self.conv0(activated(self.norm0, x, mode, self.activation))
        out = self.conv1(activated(self.norm1, out, mode, self.activation))
        return ops.concatenate(x, out, axis=3)


class DenseBlock(Block):
    """Layers that each add `growth` channels to all channels before them."""

    def __init__(self, init: Initializer, in_channels: int, depth: int, config: DenseNetConfig) -> None:
        self.in_channels = in_channels
        self.out_channels = in_channels + depth * config.growth
        self.layers = [DenseLayer(init.scope(f"layers.{k}"), in_channels + k * config.growth, config)
                       for k in range(depth)]

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        for layer in self.layers:
            x = layer(x, mode)
        return x

    def description(self) -> str:
        """Channels and the number of layers."""
        return f"{self.in_channels} -> {self.out_channels}, {len(self.layers)} dense layers"


class Transition(Block):
    """norm → relu → 1×1 → 2×2 average pool, between two dense blocks; an odd last row or column is left out."""

    def __init__(self, init: Initializer, in_channels: int, out_channels: int) -> None:
        self.activation = Nonlinearity("relu", scaled=False)
        self.norm0 = BatchNorm(init.scope("norm0"), in_channels)
        self.conv0 = Conv2D(init.scope("conv0"), in_channels, out_channels, 1, bias=False, initial="fan_out")

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        out = self.conv0(activated(self.norm0, x, mode, self.activation))
        return ops.avg_pool(out, window=2, padding="VALID")

    def description(self) -> str:
        """Channels."""
        *_, inputs, outputs = self.conv0.weight.shape
        return f"{inputs} -> {outputs}, transition, stride 2"


class DenseNet(ImageClassifier):
    """A DenseNet-BC, from a DenseNetConfig."""

    def build(self, init: Initializer) -> None:
        """Make the layers, top to bottom as the paper's figure."""
        config = self.config
        channels = 2 * config.growth
        self.activation = Nonlinearity("relu", scaled=False)
        self.initial_conv = ConvNorm(init.scope("initial_conv"), config.in_channels, channels, 7, stride=2, padding=3)
        self.blocks = []
        for stage, depth in enumerate(config.depths):
            if stage > 0:
                inputs, channels = channels, max(1, int(config.compression * channels))
                self.blocks.append(Transition(init.scope(f"blocks.{len(self.blocks)}"), inputs, channels))
            block = DenseBlock(init.scope(f"blocks.{len(self.blocks)}"), channels, depth, config)
            self.blocks.append(block)
            channels = block.out_channels
        self.final_norm = BatchNorm(init.scope("final_norm"), channels)
        self.dropout = Dropout(init.scope("dropout"), config.drop_rate)
        self.linear = Linear(init.scope("linear"), channels, config.num_classes, standard_deviation=0.01)

    def stem(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """The initial convolution with its norm and relu, and the 3×3 stride-2 max pool."""
        return ops.max_pool(self.initial_conv(x, mode, self.activation), window=3, stride=2, padding=1)

    def head(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """What is averaged over the image: norm and relu of everything that the last block gives."""
        return activated(self.final_norm, x, mode, self.activation)


def variants() -> Iterator[tuple[str, DenseNetConfig]]:
    """The four DenseNet-BC of the paper's table 1; 161 is the widest, from the authors' released models."""
    for layers, growth, depths in ((121, 32, (6, 12, 24, 16)), (161, 48, (6, 12, 36, 24)), (169, 32, (6, 12, 32, 32)),
                                   (201, 32, (6, 12, 48, 32))):
        yield f"densenet{layers}", DenseNetConfig(depths=depths, growth=growth)
