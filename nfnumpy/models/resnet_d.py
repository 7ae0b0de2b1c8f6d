"""ResNet-D: a stem of three 3×3 convolutions, and shortcuts that average 2×2 pixels instead of skipping three of four.

Source: He, Zhang, Zhang, Zhang, Xie, Li (2018), arXiv 1812.01187, section 4.2 and figure 2 (b, c).
Used by: models/registry.py, models/se_resnext_d.py. Test: reference_tests/models/test_resnets_against_torch.py.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

from .. import ops
from ..autograd import Tensor
from ..errors import InputError
from ..nn import EVALUATION, ConvNorm, Dropout, Initializer, Linear, Mode, Nonlinearity, StochasticDepth
from .base import ImageClassifier
from .config import check_config
from .residual import PostActivationBlock, block_positions, bottleneck_in_words


@dataclasses.dataclass(frozen=True)
class ResNetDConfig:
    """What a ResNet-D is made of; tuples have one value a stage, except the stem's, one a convolution.

    Other fields are those of ResNetConfig.
    """

    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    bottleneck_ratio: float = 0.25
    norm: str = "batch"
    zero_init_residual: bool = False
    activation: str = "relu"
    stem_widths: tuple[int, ...] = (32, 32, 64)
    stem_strides: tuple[int, ...] = (2, 1, 1)
    stem_pool: bool = True
    drop_rate: float = 0.0
    stochdepth_rate: float = 0.0
    num_classes: int = 1000
    in_channels: int = 3
    train_size: int = 224  # pixels
    test_size: int = 224

    EVAL_KEEPS_ASPECT: ClassVar[bool] = True  # images are resized in proportion for evaluation

    def __post_init__(self) -> None:
        check_config(self, ("widths", "depths", "strides"))
        check_stem(self)


def check_stem(config: Any) -> None:
    """InputError unless `config` has one of stem_widths and of stem_strides for every convolution of the stem."""
    if len(config.stem_widths) != len(config.stem_strides):
        raise InputError(f"{type(config).__name__}: {len(config.stem_strides)} stem_strides for "
                         f"{len(config.stem_widths)} stem_widths")


class BottleneckD(PostActivationBlock):
    """1×1 → activation → 3×3 (carries the stride) → activation → 1×1; shortcut: 2×2 average pool → 1×1."""

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, config: ResNetDConfig, *, stride: int,
                 stochdepth_rate: float) -> None:
        norm, last_gamma = config.norm, 0.0 if config.zero_init_residual else 1.0
        width = max(1, int(out_channels * config.bottleneck_ratio))
        self.stride = stride
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.conv0 = ConvNorm(init.scope("conv0"), in_channels, width, 1, norm=norm)
        self.conv1 = ConvNorm(init.scope("conv1"), width, width, 3, stride=stride, padding=1, norm=norm)
        self.conv2 = ConvNorm(init.scope("conv2"), width, out_channels, 1, norm=norm, initial_gamma=last_gamma)
        self.conv_shortcut: ConvNorm | None = None
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = ConvNorm(init.scope("conv_shortcut"), in_channels, out_channels, 1, norm=norm)
        self.stochastic_depth = StochasticDepth(init.scope("stochastic_depth"), stochdepth_rate, rescale=True)

    def branches(self, x: Tensor, mode: Mode = EVALUATION) -> tuple[Tensor, Tensor]:
        """(shortcut, residual) of x (N, H, W, in)."""
        shortcut = x
        if self.conv_shortcut is not None:
            pooled = ops.avg_pool(x, window=2) if self.stride > 1 else x
            shortcut = self.conv_shortcut(pooled, mode)
        out = self.conv0(x, mode, self.activation)
        out = self.conv1(out, mode, self.activation)
        return shortcut, self.conv2(out, mode)

    def description(self) -> str:
        """Channels, the width inside the branch, and the stride."""
        return bottleneck_in_words(self.conv0.conv, self.conv1.conv, self.conv2.conv)


class ResNetD(ImageClassifier):
    """A ResNet-D, from a ResNetDConfig."""

    def build(self, init: Initializer) -> None:
        """Make the layers, top to bottom; the classifier starts as N(0, 0.01²), as ResNet's."""
        config = self.config
        channels = config.in_channels
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.stem_convs = []
        for k, (width, stride) in enumerate(zip(config.stem_widths, config.stem_strides, strict=True)):
            self.stem_convs.append(ConvNorm(init.scope(f"stem_convs.{k}"), channels, width, 3, stride=stride, padding=1,
                                            norm=config.norm))
            channels = width
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
        return BottleneckD

    def stem(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """The convolutions, a nonlinearity after each, and, for large images, the 3×3 stride-2 max pool."""
        for conv in self.stem_convs:
            x = conv(x, mode, self.activation)
        return ops.max_pool(x, window=3, stride=2, padding=1) if self.config.stem_pool else x

    def head(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """What is averaged over the image: the last block's output."""
        return x


def variants() -> Iterator[tuple[str, ResNetDConfig]]:
    """ResNet-50-D (He et al., 2018, table 5)."""
    yield "resnet50d", ResNetDConfig()
