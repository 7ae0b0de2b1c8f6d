"""ResNet, version 1: each block's nonlinearity comes after the sum of its shortcut and its branch.

Source: He, Zhang, Ren, Sun (2015), arXiv 1512.03385, section 3.3 and table 1. The 3×3 convolution of a bottleneck has
the stride, as in torchvision and timm ("v1.5"); in the paper its first 1×1 has it, which skips three pixels of four.
Used by: models/registry.py. Test: reference_tests/models/test_resnets_against_torch.py.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

from .. import ops
from ..autograd import Tensor
from ..nn import EVALUATION, ConvNorm, Dropout, Initializer, Linear, Mode, Nonlinearity, StochasticDepth
from .base import ImageClassifier
from .config import check_config
from .residual import PostActivationBlock, block_positions, bottleneck_in_words


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """What a ResNet is made of; tuples have one value a stage, `widths` are the output channels of its blocks.

    block: "basic" (two 3×3) or "bottleneck" (1×1, 3×3, 1×1, whose 3×3 has bottleneck_ratio·width channels); norm: a
    name that nn.create_norm takes; zero_init_residual: the last gamma of each branch starts at 0, so that every block
    starts as its shortcut (Goyal et al., 2017, arXiv 1706.02677, section 5.1).
    """

    block: str = "bottleneck"
    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    bottleneck_ratio: float = 0.25
    norm: str = "batch"
    zero_init_residual: bool = False
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


class BasicBlock(PostActivationBlock):
    """3×3 (carries the stride) → activation → 3×3, added to the shortcut; a strided 1×1 where shapes differ."""

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, config: ResNetConfig, *, stride: int,
                 stochdepth_rate: float) -> None:
        norm, last_gamma = config.norm, 0.0 if config.zero_init_residual else 1.0
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.conv0 = ConvNorm(init.scope("conv0"), in_channels, out_channels, 3, stride=stride, padding=1, norm=norm)
        self.conv1 = ConvNorm(init.scope("conv1"), out_channels, out_channels, 3, padding=1, norm=norm,
                              initial_gamma=last_gamma)
        self.conv_shortcut: ConvNorm | None = None
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = ConvNorm(init.scope("conv_shortcut"), in_channels, out_channels, 1, stride=stride,
                                          norm=norm)
        self.stochastic_depth = StochasticDepth(init.scope("stochastic_depth"), stochdepth_rate, rescale=True)

    def branches(self, x: Tensor, mode: Mode = EVALUATION) -> tuple[Tensor, Tensor]:
        """(shortcut, residual) of x (N, H, W, in)."""
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(x, mode)
        out = self.conv0(x, mode, self.activation)
        return shortcut, self.conv1(out, mode)

    def description(self) -> str:
        """Channels and stride."""
        inputs, outputs = self.conv0.conv.weight.shape[2:]
        return f"{inputs} -> {outputs}, stride {self.conv0.conv.stride}"


class Bottleneck(PostActivationBlock):
    """1×1 → activation → 3×3 (carries the stride) → activation → 1×1, added to the shortcut, as above."""

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, config: ResNetConfig, *, stride: int,
                 stochdepth_rate: float) -> None:
        norm, last_gamma = config.norm, 0.0 if config.zero_init_residual else 1.0
        width = max(1, int(out_channels * config.bottleneck_ratio))
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.conv0 = ConvNorm(init.scope("conv0"), in_channels, width, 1, norm=norm)
        self.conv1 = ConvNorm(init.scope("conv1"), width, width, 3, stride=stride, padding=1, norm=norm)
        self.conv2 = ConvNorm(init.scope("conv2"), width, out_channels, 1, norm=norm,
                              initial_gamma=last_gamma)
        self.conv_shortcut: ConvNorm | None = None
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = ConvNorm(init.scope("conv_shortcut"), in_channels, out_channels, 1, stride=stride,
                                          norm=norm)
        self.stochastic_depth = StochasticDepth(init.scope("stochastic_depth"), stochdepth_rate, rescale=True)

    def branches(self, x: Tensor, mode: Mode = EVALUATION) -> tuple[Tensor, Tensor]:
        """(shortcut, residual) of x (N, H, W, in)."""
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(x, mode)
        out = self.conv0(x, mode, self.activation)
        out = self.conv1(out, mode, self.activation)
        return shortcut, self.conv2(out, mode)

    def description(self) -> str:
        """Channels, the width inside the branch, and the stride."""
        return bottleneck_in_words(self.conv0.conv, self.conv1.conv, self.conv2.conv)


BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}


class ResNet(ImageClassifier):
    """A ResNet, from a ResNetConfig."""

    def build(self, init: Initializer) -> None:
        """Make the layers, top to bottom; the classifier starts as N(0, 0.01²) (Goyal et al., 2017, section 5.1)."""
        config = self.config
        channels = config.stem_width
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.initial_conv = ConvNorm(init.scope("initial_conv"), config.in_channels, channels, config.stem_kernel,
                                     stride=config.stem_stride, padding=config.stem_kernel // 2, norm=config.norm)
        block = self.block_class()
        self.blocks = []
        for width, stride, rate in block_positions(config):
            self.blocks.append(block(init.scope(f"blocks.{len(self.blocks)}"), channels, width, config, stride=stride,
                                     stochdepth_rate=rate))
            channels = width
        self.dropout = Dropout(init.scope("dropout"), config.drop_rate)
        self.linear = Linear(init.scope("linear"), channels, config.num_classes, standard_deviation=0.01)

    def block_class(self) -> type[Any]:
        """What the blocks are made of."""
        return BLOCKS[self.config.block]

    def stem(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """The initial convolution and, for large images, the 3×3 stride-2 max pool."""
        x = self.initial_conv(x, mode, self.activation)
        return ops.max_pool(x, window=3, stride=2, padding=1) if self.config.stem_pool else x

    def head(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """What is averaged over the image: the last block's output."""
        return x


def variants() -> Iterator[tuple[str, ResNetConfig]]:
    """ResNet-18 … 152 (He et al., 2015, table 1), and four for small images that cost what the small NFNets cost."""
    for layers, depths in ((18, (2, 2, 2, 2)), (34, (3, 4, 6, 3))):
        yield f"resnet{layers}", ResNetConfig(block="basic", widths=(64, 128, 256, 512), depths=depths)
    for layers, depths in ((50, (3, 4, 6, 3)), (101, (3, 4, 23, 3)), (152, (3, 8, 36, 3))):
        yield f"resnet{layers}", ResNetConfig(depths=depths)
    for pixels, stem_width, stem_stride, widths in (
            (8, 16, 1, (48, 112, 128)), (16, 24, 1, (48, 96, 192)), (32, 24, 1, (48, 96, 144, 192)),
            (64, 64, 2, (128, 160, 224, 384))):
        yield f"resnet_{pixels}px", ResNetConfig(
            widths=widths, depths=(2,) * len(widths), strides=(1, 2, 2, 2)[:len(widths)], stem_width=stem_width,
            stem_kernel=3, stem_stride=stem_stride, stem_pool=False, drop_rate=0.1, num_classes=10, train_size=pixels,
            test_size=pixels)
