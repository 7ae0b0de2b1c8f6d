"""MobileNet, version 2: inverted residuals, narrow between blocks and wide inside, where a depthwise 3×3 works.

Source: Sandler, Howard, Zhu, Zhmoginov, Chen (2018), arXiv 1801.04381, section 3 and table 2; padding is symmetric and
the classifier starts as N(0, 0.01²), as in torchvision and timm.
Used by: models/registry.py. Test: reference_tests/models/test_mobilenets_against_torch.py.
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

from ..autograd import Tensor
from ..nn import EVALUATION, ConvNorm, Dropout, Initializer, Linear, Mode, Nonlinearity
from .base import Block, ImageClassifier, ResidualBlock
from .config import check_config


@dataclasses.dataclass(frozen=True)
class MobileNetV2Config:
    """What a MobileNet v2 is made of; tuples have one value a stage, `widths` are the output channels of its blocks.

    expansions: how many times wider than its input a block is inside.
    """

    widths: tuple[int, ...] = (16, 24, 32, 64, 96, 160, 320)
    depths: tuple[int, ...] = (1, 2, 3, 4, 3, 3, 1)
    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)
    expansions: tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)
    stem_width: int = 32
    stem_stride: int = 2
    head_width: int = 1280
    norm: str = "batch"
    activation: str = "relu6"
    drop_rate: float = 0.2
    num_classes: int = 1000
    in_channels: int = 3
    train_size: int = 224  # pixels
    test_size: int = 224

    EVAL_KEEPS_ASPECT: ClassVar[bool] = True  # images are resized in proportion for evaluation

    def __post_init__(self) -> None:
        check_config(self, ("widths", "depths", "strides", "expansions"))


class InvertedBottleneck(Block):
    """1×1 → activation → depthwise 3×3 (carries the stride) → activation → 1×1, without a shortcut.

    The first 1×1 widens; with expansion 1 there is none. The last one is linear: a nonlinearity would lose what few
    channels hold (section 3.2).
    """

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, config: MobileNetV2Config, *,
                 stride: int, expansion: int) -> None:
        width, norm = in_channels * expansion, config.norm
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.conv0: ConvNorm | None = None
        if expansion > 1:
            self.conv0 = ConvNorm(init.scope("conv0"), in_channels, width, 1, padding=0, norm=norm)
        self.conv1 = ConvNorm(init.scope("conv1"), width, width, 3, stride=stride, padding=1, groups=width, norm=norm)
        self.conv2 = ConvNorm(init.scope("conv2"), width, out_channels, 1, padding=0, norm=norm)

    def branch(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """(N, H, W, in) -> (N, H', W', out)."""
        out = x if self.conv0 is None else self.conv0(x, mode, self.activation)
        out = self.conv1(out, mode, self.activation)
        return self.conv2(out, mode)

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        return self.branch(x, mode)

    def description(self) -> str:
        """Channels, the width inside, and the stride."""
        width, outputs = self.conv2.conv.weight.shape[2:]
        inputs = width if self.conv0 is None else self.conv0.conv.weight.shape[2]
        return f"{inputs} -> {outputs}, width {width}, stride {self.conv1.conv.stride}"


class InvertedResidual(ResidualBlock, InvertedBottleneck):
    """The same, added to its input, where the shapes are equal."""

    def branches(self, x: Tensor, mode: Mode = EVALUATION) -> tuple[Tensor, Tensor]:
        """(x, residual) of x (N, H, W, channels)."""
        return x, self.branch(x, mode)

    def add_residual(self, shortcut: Tensor, residual: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """shortcut + residual."""
        return shortcut + residual


class MobileNetV2(ImageClassifier):
    """A MobileNet v2, from a MobileNetV2Config."""

    def build(self, init: Initializer) -> None:
        """Make the layers, top to bottom as table 2 of the paper."""
        config = self.config
        channels = config.stem_width
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.initial_conv = ConvNorm(init.scope("initial_conv"), config.in_channels, channels, 3,
                                     stride=config.stem_stride, padding=1, norm=config.norm)
        self.blocks = []
        for width, depth, first_stride, expansion in zip(config.widths, config.depths, config.strides,
                                                         config.expansions, strict=True):
            for position in range(depth):
                scope = init.scope(f"blocks.{len(self.blocks)}")
                stride = first_stride if position == 0 else 1
                block = InvertedResidual if stride == 1 and channels == width else InvertedBottleneck
                self.blocks.append(block(scope, channels, width, config, stride=stride, expansion=expansion))
                channels = width
        self.final_conv = ConvNorm(init.scope("final_conv"), channels, config.head_width, 1, padding=0,
                                   norm=config.norm)
        self.dropout = Dropout(init.scope("dropout"), config.drop_rate)
        self.linear = Linear(init.scope("linear"), config.head_width, config.num_classes, standard_deviation=0.01)

    def stem(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """The initial convolution and its nonlinearity."""
        return self.initial_conv(x, mode, self.activation)

    def head(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """What is averaged over the image: the final convolution and its nonlinearity."""
        return self.final_conv(x, mode, self.activation)


def variants() -> Iterator[tuple[str, MobileNetV2Config]]:
    """The network of table 2, whose width multiplier is 1."""
    yield "mobilenetv2", MobileNetV2Config()
