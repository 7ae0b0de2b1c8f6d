"""Fixup ResNet: no normalization, but scalar biases, a scalar multiplier, and branches that start at zero.

Source: Zhang, Dauphin, Ma (2019), arXiv 1901.09321, section 3 and figure 1; where a bias stands, the authors' released
code decides. It is ResNet (resnet.py) with a scalar bias before and after each convolution and a multiplier after a
branch's last. The paper's learning rate of biases and multipliers is a tenth of that of the weights.
Used by: models/registry.py. Test: reference_tests/models/test_resnets_against_torch.py.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, ClassVar

from .. import ops
from ..autograd import Tensor
from ..nn import (
    EVALUATION,
    Conv2D,
    Dropout,
    Initializer,
    Linear,
    Mode,
    Module,
    Nonlinearity,
    StochasticDepth,
    cast_like,
)
from .base import ImageClassifier
from .config import check_config
from .residual import PostActivationBlock, block_positions, bottleneck_in_words, plain_conv


@dataclasses.dataclass(frozen=True)
class FixupResNetConfig:
    """What a Fixup ResNet is made of; its fields are those of ResNetConfig."""

    block: str = "bottleneck"
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
        check_config(self, ("widths", "depths", "strides"), {"block": tuple(BLOCKS)})


class Bias(Module):
    """x + bias, a scalar that starts at 0."""

    def __init__(self, init: Initializer) -> None:
        self.bias = init.constant((), 0.0)

    def __call__(self, x: Tensor) -> Tensor:
        return x + cast_like(self.bias, x)


class Multiplier(Module):
    """scale·x + bias, scalars that start at 1 and 0."""

    def __init__(self, init: Initializer) -> None:
        self.scale = init.constant((), 1.0)
        self.bias = init.constant((), 0.0)

    def __call__(self, x: Tensor) -> Tensor:
        return x * cast_like(self.scale, x) + cast_like(self.bias, x)


def branch_conv(init: Initializer, in_channels: int, out_channels: int, kernel_size: int, *, factor: float,
                stride: int = 1) -> Conv2D:
    """A convolution whose weights start as `factor` times those of He initialization."""
    deviation = math.sqrt(2.0 / (kernel_size**2 * out_channels))
    return Conv2D(init, in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False,
                  initial=factor * deviation)


class BasicBlock(PostActivationBlock):
    """bias → 3×3 (carries the stride) → bias → activation → bias → 3×3 → multiplier.

    The first 3×3 starts at L^(-1/2) times He initialization, L being the number of blocks, and the second at 0. The
    shortcut of a block that changes the shape is a strided 1×1 of the input after the first bias.
    """

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, config: FixupResNetConfig, *,
                 stride: int, stochdepth_rate: float) -> None:
        factor = sum(config.depths) ** (-1 / 2)
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.bias0a = Bias(init)
        self.conv0 = branch_conv(init.scope("conv0"), in_channels, out_channels, 3, stride=stride, factor=factor)
        self.bias0b = Bias(init)
        self.bias1a = Bias(init)
        self.conv1 = branch_conv(init.scope("conv1"), out_channels, out_channels, 3, factor=0.0)
        self.multiplier = Multiplier(init)
        self.conv_shortcut: Conv2D | None = None
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = plain_conv(init.scope("conv_shortcut"), in_channels, out_channels, 1, stride)
        self.stochastic_depth = StochasticDepth(init.scope("stochastic_depth"), stochdepth_rate, rescale=True)

    def branches(self, x: Tensor, mode: Mode = EVALUATION) -> tuple[Tensor, Tensor]:
        """(shortcut, residual) of x (N, H, W, in)."""
        out = self.bias0a(x)
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(out)
        out = self.activation(self.bias0b(self.conv0(out)))
        return shortcut, self.multiplier(self.conv1(self.bias1a(out)))

    def description(self) -> str:
        """Channels and stride."""
        inputs, outputs = self.conv0.weight.shape[2:]
        return f"{inputs} -> {outputs}, stride {self.conv0.stride}"


class Bottleneck(PostActivationBlock):
    """As above with 1×1, 3×3 (carries the stride) and 1×1.

    The first two start at L^(-1/4) times He initialization, the last at 0.
    """

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, config: FixupResNetConfig, *,
                 stride: int, stochdepth_rate: float) -> None:
        factor = sum(config.depths) ** (-1 / 4)
        width = max(1, int(out_channels * config.bottleneck_ratio))
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.bias0a = Bias(init)
        self.conv0 = branch_conv(init.scope("conv0"), in_channels, width, 1, factor=factor)
        self.bias0b = Bias(init)
        self.bias1a = Bias(init)
        self.conv1 = branch_conv(init.scope("conv1"), width, width, 3, stride=stride, factor=factor)
        self.bias1b = Bias(init)
        self.bias2a = Bias(init)
        self.conv2 = branch_conv(init.scope("conv2"), width, out_channels, 1, factor=0.0)
        self.multiplier = Multiplier(init)
        self.conv_shortcut: Conv2D | None = None
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = plain_conv(init.scope("conv_shortcut"), in_channels, out_channels, 1, stride)
        self.stochastic_depth = StochasticDepth(init.scope("stochastic_depth"), stochdepth_rate, rescale=True)

    def branches(self, x: Tensor, mode: Mode = EVALUATION) -> tuple[Tensor, Tensor]:
        """(shortcut, residual) of x (N, H, W, in)."""
        out = self.bias0a(x)
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(out)
        out = self.activation(self.bias0b(self.conv0(out)))
        out = self.activation(self.bias1b(self.conv1(self.bias1a(out))))
        return shortcut, self.multiplier(self.conv2(self.bias2a(out)))

    def description(self) -> str:
        """Channels, the width inside the branch, and the stride."""
        return bottleneck_in_words(self.conv0, self.conv1, self.conv2)


BLOCKS: dict[str, type[Any]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


class FixupResNet(ImageClassifier):
    """A Fixup ResNet, from a FixupResNetConfig."""

    def build(self, init: Initializer) -> None:
        """Make the layers, top to bottom; the classifier starts at 0."""
        config = self.config
        channels = config.stem_width
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.initial_conv = plain_conv(init.scope("initial_conv"), config.in_channels, channels, config.stem_kernel,
                                       config.stem_stride)
        self.initial_bias = Bias(init)
        self.blocks = []
        for width, stride, rate in block_positions(config):
            self.blocks.append(BLOCKS[config.block](init.scope(f"blocks.{len(self.blocks)}"), channels, width, config,
                                                    stride=stride, stochdepth_rate=rate))
            channels = width
        self.final_bias = Bias(init)
        self.dropout = Dropout(init.scope("dropout"), config.drop_rate)
        self.linear = Linear(init.scope("linear"), channels, config.num_classes, standard_deviation=0.0)

    def stem(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """The initial convolution and, for large images, the 3×3 stride-2 max pool."""
        x = self.activation(self.initial_bias(self.initial_conv(x)))
        return ops.max_pool(x, window=3, stride=2, padding=1) if self.config.stem_pool else x

    def head(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """What is averaged over the image: the last block's output and a bias."""
        return self.final_bias(x)


def variants() -> Iterator[tuple[str, FixupResNetConfig]]:
    """Fixup-ResNet-50 (Zhang et al., 2019, section 4.2), and one as resnet_32px."""
    yield "fixup_resnet50", FixupResNetConfig()
    yield "fixup_resnet_32px", FixupResNetConfig(
        widths=(48, 96, 144, 192), depths=(2, 2, 2, 2), stem_width=24, stem_kernel=3, stem_stride=1, stem_pool=False,
        drop_rate=0.1, num_classes=10, train_size=32, test_size=32)
