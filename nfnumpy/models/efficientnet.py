"""EfficientNet: inverted bottlenecks with depthwise convolutions and squeeze-and-excite, scaled in three ways at once.

Source: Tan, Le (2019), arXiv 1905.11946, table 1 and section 4; where the authors' released code
(github.com/tensorflow/tpu, models/official/efficientnet) says more, it is followed: SAME padding, silu, batch norm with
decay 0.99 and eps 1e-3, drop-connect that divides by the keep probability, and these initial values: convolutions
N(0, 2/(kh·kw·out)), depthwise ones, whose kernels (kh, kw, channels, 1) have one output each, N(0, 2/(kh·kw)), and the
classifier uniform in ±1/√out.
Used by: models/registry.py. Test: reference_tests/models/test_efficientnet_against_torch.py.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import ClassVar

from ..autograd import Tensor
from ..nn import (
    EVALUATION,
    ConvNorm,
    Dropout,
    Initializer,
    Linear,
    Mode,
    Nonlinearity,
    SqueezeExcite,
    StochasticDepth,
)
from .base import Block, ImageClassifier
from .config import check_config
from .residual import SumBlock


@dataclasses.dataclass(frozen=True)
class EfficientNetConfig:
    """What an EfficientNet is made of; tuples have one value a stage, `widths` are the output channels of its blocks.

    expansions: how many times wider than its input a block is inside; se_ratio: hidden units of squeeze-and-excite, as
    a share of the block's input channels; stochdepth_rate: drop-connect drops the branch of block i of n with
    probability stochdepth_rate·i/n.
    """

    widths: tuple[int, ...] = (16, 24, 40, 80, 112, 192, 320)
    depths: tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)
    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)
    kernels: tuple[int, ...] = (3, 3, 5, 3, 5, 5, 3)
    expansions: tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)
    stem_width: int = 32
    stem_stride: int = 2
    head_width: int = 1280
    se_ratio: float = 0.25
    norm: str = "batch_keras"
    activation: str = "silu"
    drop_rate: float = 0.2
    stochdepth_rate: float = 0.2
    num_classes: int = 1000
    in_channels: int = 3
    train_size: int = 224  # pixels
    test_size: int = 224

    EVAL_KEEPS_ASPECT: ClassVar[bool] = True  # images are resized in proportion for evaluation

    def __post_init__(self) -> None:
        check_config(self, ("widths", "depths", "strides", "kernels", "expansions"))


class MBConv(Block):
    """1×1 → activation → depthwise (carries the stride) → activation → squeeze-and-excite → 1×1, without a shortcut.

    The first 1×1 widens; with expansion 1 there is none.
    """

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, config: EfficientNetConfig, *,
                 stride: int, kernel: int, expansion: int) -> None:
        width, norm = in_channels * expansion, config.norm
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.conv0: ConvNorm | None = None
        if expansion > 1:
            self.conv0 = ConvNorm(init.scope("conv0"), in_channels, width, 1, norm=norm)
        self.conv1 = ConvNorm(init.scope("conv1"), width, width, kernel, stride=stride, groups=width, norm=norm)
        self.squeeze_excite = SqueezeExcite(
            init.scope("squeeze_excite"), width, hidden=max(1, int(in_channels * config.se_ratio)),
            activation=config.activation, scale=1.0, initial="fan_out")
        self.conv2 = ConvNorm(init.scope("conv2"), width, out_channels, 1, norm=norm)

    def branch(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """(N, H, W, in) -> (N, H', W', out); the last convolution is not followed by a nonlinearity."""
        out = x if self.conv0 is None else self.conv0(x, mode, self.activation)
        out = self.conv1(out, mode, self.activation)
        return self.conv2(self.squeeze_excite(out), mode)

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        return self.branch(x, mode)

    def description(self) -> str:
        """Channels, the width inside, the window and the stride."""
        width, outputs = self.conv2.conv.weight.shape[2:]
        inputs = width if self.conv0 is None else self.conv0.conv.weight.shape[2]
        kernel = self.conv1.conv.weight.shape[0]
        return f"{inputs} -> {outputs}, width {width}, {kernel}×{kernel}, stride {self.conv1.conv.stride}"


class ResidualMBConv(SumBlock, MBConv):
    """The same, added to its input, where the shapes are equal; drop-connect divides by the keep probability."""

    def __init__(self, init: Initializer, channels: int, config: EfficientNetConfig, *, kernel: int, expansion: int,
                 stochdepth_rate: float) -> None:
        super().__init__(init, channels, channels, config, stride=1, kernel=kernel, expansion=expansion)
        self.stochastic_depth = StochasticDepth(init.scope("stochastic_depth"), stochdepth_rate, rescale=True)

    def branches(self, x: Tensor, mode: Mode = EVALUATION) -> tuple[Tensor, Tensor]:
        """(x, residual) of x (N, H, W, channels)."""
        return x, self.branch(x, mode)


class EfficientNet(ImageClassifier):
    """An EfficientNet, from an EfficientNetConfig."""

    def build(self, init: Initializer) -> None:
        """Make the layers, top to bottom as table 1 of the paper."""
        config = self.config
        channels, total = config.stem_width, sum(config.depths)
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.initial_conv = ConvNorm(init.scope("initial_conv"), config.in_channels, channels, 3,
                                     stride=config.stem_stride, norm=config.norm)
        self.blocks = []
        for width, depth, first_stride, kernel, expansion in zip(
                config.widths, config.depths, config.strides, config.kernels, config.expansions, strict=True):
            for position in range(depth):
                scope = init.scope(f"blocks.{len(self.blocks)}")
                stride = first_stride if position == 0 else 1
                if stride == 1 and channels == width:
                    rate = config.stochdepth_rate * len(self.blocks) / total
                    self.blocks.append(ResidualMBConv(scope, width, config, kernel=kernel, expansion=expansion,
                                                      stochdepth_rate=rate))
                else:
                    self.blocks.append(MBConv(scope, channels, width, config, stride=stride, kernel=kernel,
                                              expansion=expansion))
                channels = width
        self.final_conv = ConvNorm(init.scope("final_conv"), channels, config.head_width, 1, norm=config.norm)
        self.dropout = Dropout(init.scope("dropout"), config.drop_rate)
        self.linear = Linear(init.scope("linear"), config.head_width, config.num_classes,
                             uniform_bound=1.0 / math.sqrt(config.num_classes))

    def stem(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """The initial convolution and its nonlinearity."""
        return self.initial_conv(x, mode, self.activation)

    def head(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """What is averaged over the image: the final convolution and its nonlinearity."""
        return self.final_conv(x, mode, self.activation)


def scaled_width(width: int, factor: float) -> int:
    """width·factor to the nearest multiple of 8, or the next one if that loses more than a tenth."""
    exact = width * factor
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def variants() -> Iterator[tuple[str, EfficientNetConfig]]:
    """B0 … B7: B0's widths times the first factor, its depths times the second, rounded up (section 3.3)."""
    base = EfficientNetConfig()
    for k, (width_factor, depth_factor, size, drop_rate) in enumerate((
            (1.0, 1.0, 224, 0.2), (1.0, 1.1, 240, 0.2), (1.1, 1.2, 260, 0.3), (1.2, 1.4, 300, 0.3),
            (1.4, 1.8, 380, 0.4), (1.6, 2.2, 456, 0.4), (1.8, 2.6, 528, 0.5), (2.0, 3.1, 600, 0.5))):
        yield f"efficientnet_b{k}", dataclasses.replace(
            base, widths=tuple(scaled_width(width, width_factor) for width in base.widths),
            depths=tuple(math.ceil(depth * depth_factor) for depth in base.depths),
            stem_width=scaled_width(base.stem_width, width_factor),
            head_width=scaled_width(base.head_width, width_factor), drop_rate=drop_rate, train_size=size,
            test_size=size)
    yield from _small_variants()


def _small_variants() -> Iterator[tuple[str, EfficientNetConfig]]:
    """For images of 8 to 64 pixels; each has the parameters and multiply-adds of the NFNet of that size, to 3 %."""
    for pixels, stem_stride, head_width, widths, depths, strides, kernels in (
            (8, 1, 320, (32, 32, 64), (1, 2, 1), (1, 2, 2), (3, 3, 5)),
            (16, 1, 320, (16, 40, 56), (1, 3, 1), (1, 2, 2), (3, 3, 5)),
            (32, 1, 256, (8, 40, 40, 96), (1, 3, 2, 1), (1, 2, 2, 2), (3, 3, 5, 3)),
            (64, 2, 320, (16, 32, 64, 64, 192), (1, 2, 3, 4, 1), (1, 1, 2, 2, 2), (3, 3, 5, 3, 3))):
        yield f"efficientnet_{pixels}px", EfficientNetConfig(
            widths=widths, depths=depths, strides=strides, kernels=kernels, expansions=(1,) + (6,) * (len(widths) - 1),
            stem_stride=stem_stride, head_width=head_width, drop_rate=0.1, stochdepth_rate=0.0, num_classes=10,
            train_size=pixels, test_size=pixels)
