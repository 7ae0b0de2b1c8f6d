"""ResNet, version 2: normalization and nonlinearity come before each convolution, and nothing after the sum.

Source: He, Zhang, Ren, Sun (2016), arXiv 1603.05027, figure 1 (b) and the appendix: where a block changes the shape,
its shortcut projects what norm and nonlinearity have made of the input; the stem has neither, and both come once more
after the last block. The 3×3 convolution of a bottleneck has the stride, as in timm; in the paper its first 1×1 has it.
Used by: models/registry.py. Test: reference_tests/models/test_resnets_against_torch.py.
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

from .. import ops
from ..autograd import Tensor
from ..nn import (
    EVALUATION,
    Conv2D,
    Dropout,
    Initializer,
    Linear,
    Mode,
    Nonlinearity,
    StochasticDepth,
    activated,
    create_norm,
)
from .base import ImageClassifier
from .config import check_config
from .residual import SumBlock, block_positions, bottleneck_in_words, plain_conv


@dataclasses.dataclass(frozen=True)
class ResNetV2Config:
    """What a pre-activation ResNet is made of; its fields are those of ResNetConfig."""

    block: str = "bottleneck"
    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    bottleneck_ratio: float = 0.25
    norm: str = "batch"
    activation: str = "relu"
    stem_width: int = 64
    stem_kernel: int = 7
    stem_stride: int = 2
    stem_pool: bool = True
    drop_rate: float = 0.0
    stochdepth_rate: float = 0.0
    num_classes: int = 1000
    in_channels: int = 3
    train_size: int = 224  # pixels
    test_size: int = 224

    EVAL_KEEPS_ASPECT: ClassVar[bool] = True  # images are resized in proportion for evaluation

    def __post_init__(self) -> None:
        check_config(self, ("widths", "depths", "strides"), {"block": tuple(BLOCKS)})


class BasicBlock(SumBlock):
    """norm → activation → 3×3 (carries the stride) → norm → activation → 3×3."""

    FOLDABLE = (("conv0", "norm1"),)

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, config: ResNetV2Config, *, stride: int,
                 stochdepth_rate: float) -> None:
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.norm0 = create_norm(init.scope("norm0"), in_channels, config.norm)
        self.conv0 = plain_conv(init.scope("conv0"), in_channels, out_channels, 3, stride)
        self.norm1 = create_norm(init.scope("norm1"), out_channels, config.norm)
        self.conv1 = plain_conv(init.scope("conv1"), out_channels, out_channels, 3)
        self.conv_shortcut: Conv2D | None = None
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = plain_conv(init.scope("conv_shortcut"), in_channels, out_channels, 1, stride)
        self.stochastic_depth = StochasticDepth(init.scope("stochastic_depth"), stochdepth_rate, rescale=True)

    def branches(self, x: Tensor, mode: Mode = EVALUATION) -> tuple[Tensor, Tensor]:
        """(shortcut, residual) of x (N, H, W, in)."""
        out = activated(self.norm0, x, mode, self.activation)
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(out)
        out = activated(self.norm1, self.conv0(out), mode, self.activation)
        return shortcut, self.conv1(out)

    def description(self) -> str:
        """Channels and stride."""
        inputs, outputs = self.conv0.weight.shape[2:]
        return f"{inputs} -> {outputs}, stride {self.conv0.stride}"


class Bottleneck(SumBlock):
    """norm → activation → 1×1 → norm → activation → 3×3 (carries the stride) → norm → activation → 1×1."""

    FOLDABLE = (("conv0", "norm1"), ("conv1", "norm2"))

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, config: ResNetV2Config, *, stride: int,
                 stochdepth_rate: float) -> None:
        width = max(1, int(out_channels * config.bottleneck_ratio))
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.norm0 = create_norm(init.scope("norm0"), in_channels, config.norm)
        self.conv0 = plain_conv(init.scope("conv0"), in_channels, width, 1)
        self.norm1 = create_norm(init.scope("norm1"), width, config.norm)
        self.conv1 = plain_conv(init.scope("conv1"), width, width, 3, stride)
        self.norm2 = create_norm(init.scope("norm2"), width, config.norm)
        self.conv2 = plain_conv(init.scope("conv2"), width, out_channels, 1)
        self.conv_shortcut: Conv2D | None = None
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = plain_conv(init.scope("conv_shortcut"), in_channels, out_channels, 1, stride)
        self.stochastic_depth = StochasticDepth(init.scope("stochastic_depth"), stochdepth_rate, rescale=True)

    def branches(self, x: Tensor, mode: Mode = EVALUATION) -> tuple[Tensor, Tensor]:
        """(shortcut, residual) of x (N, H, W, in)."""
        out = activated(self.norm0, x, mode, self.activation)
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(out)
        out = activated(self.norm1, self.conv0(out), mode, self.activation)
        out = activated(self.norm2, self.conv1(out), mode, self.activation)
        return shortcut, self.conv2(out)

    def description(self) -> str:
        """Channels, the width inside the branch, and the stride."""
        return bottleneck_in_words(self.conv0, self.conv1, self.conv2)


BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}


class ResNetV2(ImageClassifier):
    """A pre-activation ResNet, from a ResNetV2Config."""

    def build(self, init: Initializer) -> None:
        """Make the layers, top to bottom; the classifier starts as N(0, 0.01²), as ResNet's."""
        config = self.config
        channels = config.stem_width
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.initial_conv = plain_conv(init.scope("initial_conv"), config.in_channels, channels, config.stem_kernel,
                                       config.stem_stride)
        self.blocks = []
        for width, stride, rate in block_positions(config):
            self.blocks.append(BLOCKS[config.block](init.scope(f"blocks.{len(self.blocks)}"), channels, width, config,
                                                    stride=stride, stochdepth_rate=rate))
            channels = width
        self.final_norm = create_norm(init.scope("final_norm"), channels, config.norm)
        self.dropout = Dropout(init.scope("dropout"), config.drop_rate)
        self.linear = Linear(init.scope("linear"), channels, config.num_classes, standard_deviation=0.01)

    def stem(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """The initial convolution and, for large images, the 3×3 stride-2 max pool."""
        x = self.initial_conv(x)
        return ops.max_pool(x, window=3, stride=2, padding=1) if self.config.stem_pool else x

    def head(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """What is averaged over the image: the last block's output after norm and nonlinearity."""
        return activated(self.final_norm, x, mode, self.activation)


def variants() -> Iterator[tuple[str, ResNetV2Config]]:
    """The depths of He et al. (2015), table 1, as pre-activation networks."""
    for layers, depths in ((18, (2, 2, 2, 2)), (34, (3, 4, 6, 3))):
        yield f"resnetv2_{layers}", ResNetV2Config(block="basic", widths=(64, 128, 256, 512), depths=depths)
    for layers, depths in ((50, (3, 4, 6, 3)), (101, (3, 4, 23, 3)), (152, (3, 8, 36, 3))):
        yield f"resnetv2_{layers}", ResNetV2Config(depths=depths)
