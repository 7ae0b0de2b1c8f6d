"""SE-ResNeXt-D: the blocks of SE-ResNeXt with the stem and the shortcuts of ResNet-D; where NFNet's design starts.

Source: Brock et al. (2021b), arXiv 2102.06171, section 4, which names it; its parts are those of resnet_d.py and
se_resnext.py. Used by: models/registry.py. Test: reference_tests/models/test_resnets_against_torch.py.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

from .. import ops
from ..autograd import Tensor
from ..nn import EVALUATION, ConvNorm, Initializer, Mode, Nonlinearity, SqueezeExcite, StochasticDepth
from .config import check_config
from .residual import PostActivationBlock, bottleneck_in_words
from .resnet_d import ResNetD, check_stem


@dataclasses.dataclass(frozen=True)
class SEResNeXtDConfig:
    """What an SE-ResNeXt-D is made of; the fields are those of SEResNeXtConfig and ResNetDConfig."""

    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    groups: int = 32
    group_width: int = 4
    se_ratio: float = 1 / 16
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

    def bottleneck_width(self, out_channels: int) -> int:
        """Channels of the grouped convolution in a block with that many output channels."""
        return self.groups * max(1, self.group_width * out_channels // self.widths[0])


class SEResNeXtDBlock(PostActivationBlock):
    """1×1 → activation → 3×3 grouped (carries the stride) → activation → 1×1 → squeeze-and-excite.

    Shortcut of a block that changes the shape: 2×2 average pool if it has a stride → 1×1.
    """

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, config: SEResNeXtDConfig, *, stride: int,
                 stochdepth_rate: float) -> None:
        norm, last_gamma = config.norm, 0.0 if config.zero_init_residual else 1.0
        width = config.bottleneck_width(out_channels)
        self.stride = stride
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.conv0 = ConvNorm(init.scope("conv0"), in_channels, width, 1, norm=norm)
        self.conv1 = ConvNorm(init.scope("conv1"), width, width, 3, stride=stride, padding=1, groups=config.groups,
                              norm=norm)
        self.conv2 = ConvNorm(init.scope("conv2"), width, out_channels, 1, norm=norm, initial_gamma=last_gamma)
        self.squeeze_excite = SqueezeExcite(init.scope("squeeze_excite"), out_channels, config.se_ratio, scale=1.0)
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
        return shortcut, self.squeeze_excite(self.conv2(out, mode))

    def description(self) -> str:
        """Channels, the width and the groups inside the branch, and the stride."""
        return bottleneck_in_words(self.conv0.conv, self.conv1.conv, self.conv2.conv)


class SEResNeXtD(ResNetD):
    """An SE-ResNeXt-D, from an SEResNeXtDConfig: stem and head are ResNet-D's."""

    def block_class(self) -> type[Any]:
        """What the blocks are made of."""
        return SEResNeXtDBlock


def variants() -> Iterator[tuple[str, SEResNeXtDConfig]]:
    """A small one, the deepening of SE-ResNeXt-50, and the one of 101 layers with wide groups."""
    yield "seresnext26d_32x4d", SEResNeXtDConfig(depths=(2, 2, 2, 2))
    yield "seresnext50d_32x4d", SEResNeXtDConfig()
    yield "seresnext101d_32x8d", SEResNeXtDConfig(depths=(3, 4, 23, 3), group_width=8)
