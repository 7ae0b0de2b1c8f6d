"""ResNeXt: a ResNet whose 3×3 convolutions are wider and grouped.

Source: Xie, Girshick, Dollár, Tu, He (2016), arXiv 1611.05431, table 1 and figure 3 (c).
Used by: models/registry.py, models/se_resnext.py. Test: reference_tests/models/test_resnets_against_torch.py.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

from ..autograd import Tensor
from ..nn import EVALUATION, ConvNorm, Initializer, Mode, Nonlinearity, StochasticDepth
from .config import check_config
from .residual import PostActivationBlock, bottleneck_in_words
from .resnet import ResNet


@dataclasses.dataclass(frozen=True)
class ResNeXtConfig:
    """What a ResNeXt is made of; tuples have one value a stage, `widths` are the output channels of its blocks.

    groups: of every 3×3 convolution, the paper's cardinality; group_width: channels of a group in the first stage, more
    in later ones as `widths` grow. "32×4d" has 32 groups of 4. Other fields are those of ResNetConfig.
    """

    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    groups: int = 32
    group_width: int = 4
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
        check_config(self, ("widths", "depths", "strides"))

    def bottleneck_width(self, out_channels: int) -> int:
        """Channels of the grouped convolution in a block with that many output channels."""
        return self.groups * max(1, self.group_width * out_channels // self.widths[0])


class ResNeXtBlock(PostActivationBlock):
    """1×1 → activation → 3×3 grouped (carries the stride) → activation → 1×1; shortcut: a strided 1×1 or nothing."""

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, config: ResNeXtConfig, *, stride: int,
                 stochdepth_rate: float) -> None:
        norm, last_gamma = config.norm, 0.0 if config.zero_init_residual else 1.0
        width = config.bottleneck_width(out_channels)
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.conv0 = ConvNorm(init.scope("conv0"), in_channels, width, 1, norm=norm)
        self.conv1 = ConvNorm(init.scope("conv1"), width, width, 3, stride=stride, padding=1, groups=config.groups,
                              norm=norm)
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
        """Channels, the width and the groups inside the branch, and the stride."""
        return bottleneck_in_words(self.conv0.conv, self.conv1.conv, self.conv2.conv)


class ResNeXt(ResNet):
    """A ResNeXt, from a ResNeXtConfig: stem and head are ResNet's."""

    def block_class(self) -> type[Any]:
        """What the blocks are made of."""
        return ResNeXtBlock


def variants() -> Iterator[tuple[str, ResNeXtConfig]]:
    """ResNeXt-50 32×4d (Xie et al., 2016, table 1)."""
    yield "resnext50_32x4d", ResNeXtConfig()
