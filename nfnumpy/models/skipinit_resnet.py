"""SkipInit ResNet: a pre-activation ResNet without normalization, each branch times a learned scalar that starts at 0.

Source: De, Smith (2020), arXiv 2002.10444: ResNet version 2 (resnet_v2.py) with biases in the place of its
norms, and one multiplier a branch. NF-ResNets (nf_resnet.py) come from it by scaled weight standardization, alpha and
beta. Used by: models/registry.py. Test: reference_tests/models/test_resnets_against_torch.py.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import ClassVar

from .. import ops
from ..autograd import Tensor
from ..nn import EVALUATION, Conv2D, Dropout, Initializer, Linear, Mode, Nonlinearity, StochasticDepth
from .base import ImageClassifier
from .config import check_config
from .residual import block_positions
from .skip_init import SkipInitBlock


@dataclasses.dataclass(frozen=True)
class SkipInitResNetConfig:
    """What a SkipInit ResNet is made of; its fields are those of ResNetV2Config."""

    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    bottleneck_ratio: float = 0.25
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


def he_conv(init: Initializer, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> Conv2D:
    """A convolution with a bias, whose weights are N(0, 2/fan_in), which keeps the variance through a relu."""
    return Conv2D(init, in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2,
                  initial=math.sqrt(2.0 / (kernel_size**2 * in_channels)))


class SkipInitResNetBlock(SkipInitBlock):
    """activation → 1×1 → activation → 3×3 (carries the stride) → activation → 1×1, times the skip gain.

    Where a block changes the shape, its shortcut is a strided 1×1 of the activated input.
    """

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, config: SkipInitResNetConfig, *,
                 stride: int, stochdepth_rate: float) -> None:
        self.alpha = 1.0
        self.activation = Nonlinearity(config.activation, scaled=False)
        width = max(1, int(out_channels * config.bottleneck_ratio))
        self.conv0 = he_conv(init.scope("conv0"), in_channels, width, 1)
        self.conv1 = he_conv(init.scope("conv1"), width, width, 3, stride)
        self.conv2 = he_conv(init.scope("conv2"), width, out_channels, 1)
        self.conv_shortcut: Conv2D | None = None
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = he_conv(init.scope("conv_shortcut"), in_channels, out_channels, 1, stride)
        self.stochastic_depth = StochasticDepth(init.scope("stochastic_depth"), stochdepth_rate)
        self.skip_gain = init.constant((), 0.0)

    def branches(self, x: Tensor, mode: Mode = EVALUATION) -> tuple[Tensor, Tensor]:
        """(shortcut, residual) of x (N, H, W, in)."""
        out = self.activation(x)
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(out)
        out = self.activation(self.conv0(out))
        out = self.activation(self.conv1(out))
        return shortcut, self.conv2(out)


class SkipInitResNet(ImageClassifier):
    """A SkipInit ResNet, from a SkipInitResNetConfig."""

    def build(self, init: Initializer) -> None:
        """Make the layers, top to bottom."""
        config = self.config
        channels = config.stem_width
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.initial_conv = he_conv(init.scope("initial_conv"), config.in_channels, channels, config.stem_kernel,
                                    config.stem_stride)
        self.blocks = []
        for width, stride, rate in block_positions(config):
            self.blocks.append(SkipInitResNetBlock(init.scope(f"blocks.{len(self.blocks)}"), channels, width, config,
                                                   stride=stride, stochdepth_rate=rate))
            channels = width
        self.dropout = Dropout(init.scope("dropout"), config.drop_rate)
        self.linear = Linear(init.scope("linear"), channels, config.num_classes, standard_deviation=0.01)

    def stem(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """The initial convolution and, for large images, the 3×3 stride-2 max pool."""
        x = self.initial_conv(x)
        return ops.max_pool(x, window=3, stride=2, padding=1) if self.config.stem_pool else x

    def head(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """What is averaged over the image: the last block's output after the nonlinearity."""
        return self.activation(x)


def variants() -> Iterator[tuple[str, SkipInitResNetConfig]]:
    """SkipInit-ResNet-50 (De, Smith, 2020), and one as resnet_32px."""
    yield "skipinit_resnet50", SkipInitResNetConfig()
    yield "skipinit_resnet_32px", SkipInitResNetConfig(
        widths=(48, 96, 144, 192), depths=(2, 2, 2, 2), stem_width=24, stem_kernel=3, stem_stride=1, stem_pool=False,
        drop_rate=0.1, num_classes=10, train_size=32, test_size=32)
