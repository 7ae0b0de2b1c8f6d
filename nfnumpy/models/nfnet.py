"""NFNet: stem of four 3×3 convolutions, grouped bottleneck blocks with two 3×3 convolutions, 1×1 final convolution.

Source: Brock et al. (2021b), arXiv 2102.06171, section 4 and appendix; where the authors' released code differs, it
decides. Used by: models/registry.py. Test: reference_tests/models/test_models_against_torch.py.
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

from .. import ops
from ..autograd import Tensor
from ..errors import InputError
from ..nn import EVALUATION, Dropout, Initializer, Linear, Mode, Nonlinearity, SqueezeExcite, StochasticDepth, WSConv2D
from .base import ImageClassifier
from .config import check_config
from .skip_init import SkipInitBlock, block_schedule


@dataclasses.dataclass(frozen=True)
class NFNetConfig:
    """What an NFNet is made of; tuples have one value a stage, except the stem's, one a convolution."""

    widths: tuple[int, ...] = (256, 512, 1536, 1536)
    depths: tuple[int, ...] = (1, 2, 6, 3)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    group_size: int = 128
    expansion: float = 0.5
    se_ratio: float = 0.5
    alpha: float = 0.2
    activation: str = "gelu"
    stem_widths: tuple[int, ...] | None = None  # None: 16, 32, 64 and half the first stage's width, as in the paper
    stem_strides: tuple[int, ...] = (2, 1, 1, 2)
    final_conv_multiplier: int = 2
    drop_rate: float = 0.0
    stochdepth_rate: float = 0.0
    num_classes: int = 1000
    in_channels: int = 3
    train_size: int = 192  # pixels
    test_size: int = 256

    EVAL_KEEPS_ASPECT: ClassVar[bool] = False  # for the authors' evaluation images are resized to squares

    def __post_init__(self) -> None:
        check_config(self, ("widths", "depths", "strides"))
        convolutions = len(self.stem_channels())
        if convolutions != len(self.stem_strides):
            raise InputError(f"NFNetConfig: {len(self.stem_strides)} stem_strides for {convolutions} stem "
                             f"convolutions")
        if any(int(width * self.expansion) < self.group_size for width in self.widths):
            raise InputError(f"NFNetConfig: group_size={self.group_size} is wider than a bottleneck of "
                             f"widths={self.widths} at expansion={self.expansion}")

    def stem_channels(self) -> tuple[int, ...]:
        """Output channels of the stem's convolutions."""
        return (16, 32, 64, self.widths[0] // 2) if self.stem_widths is None else self.stem_widths


class NFBlock(SkipInitBlock):
    """activation → 1×1 → 3×3 grouped (carries the stride) → 3×3 grouped → 1×1 → squeeze-and-excite."""

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, config: NFNetConfig, *, stride: int,
                 beta: float, stochdepth_rate: float) -> None:
        self.stride = stride
        self.beta = beta
        self.alpha = config.alpha
        self.activation = Nonlinearity(config.activation)
        groups = int(out_channels * config.expansion) // config.group_size
        width = groups * config.group_size
        self.conv_shortcut: WSConv2D | None = None
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = WSConv2D(init.scope("conv_shortcut"), in_channels, out_channels, 1)
        self.conv0 = WSConv2D(init.scope("conv0"), in_channels, width, 1)
        self.conv1 = WSConv2D(init.scope("conv1"), width, width, 3, stride=stride, groups=groups)
        self.conv1b = WSConv2D(init.scope("conv1b"), width, width, 3, groups=groups)
        self.conv2 = WSConv2D(init.scope("conv2"), width, out_channels, 1)
        self.squeeze_excite = SqueezeExcite(init.scope("squeeze_excite"), out_channels, config.se_ratio)
        self.stochastic_depth = StochasticDepth(init.scope("stochastic_depth"), stochdepth_rate)
        self.skip_gain = init.constant((), 0.0)

    def branches(self, x: Tensor, mode: Mode = EVALUATION) -> tuple[Tensor, Tensor]:
        """(shortcut, residual) of x (N, H, W, in)."""
        out = self.activation(x, scale=self.beta)
        shortcut = x
        if self.conv_shortcut is not None:
            pooled = ops.avg_pool(out, window=2) if self.stride > 1 else out
            shortcut = self.conv_shortcut(pooled)
        out = self.conv0(out)
        out = self.conv1(self.activation(out))
        out = self.conv1b(self.activation(out))
        out = self.conv2(self.activation(out))
        return shortcut, self.squeeze_excite(out)


class NFNet(ImageClassifier):
    """A normalizer-free network of the F family, from an NFNetConfig."""

    def build(self, init: Initializer) -> None:
        """Make the layers, top to bottom as the paper's figure."""
        config = self.config
        channels = config.in_channels
        self.activation = Nonlinearity(config.activation)
        self.stem_convs = []
        for k, (width, stride) in enumerate(zip(config.stem_channels(), config.stem_strides, strict=True)):
            self.stem_convs.append(WSConv2D(init.scope(f"stem_convs.{k}"), channels, width, 3, stride=stride))
            channels = width
        self.blocks = []
        for stage, position, beta, rate in block_schedule(config.depths, config.alpha, config.stochdepth_rate):
            stride = config.strides[stage] if position == 0 else 1
            self.blocks.append(NFBlock(init.scope(f"blocks.{len(self.blocks)}"), channels, config.widths[stage], config,
                                       stride=stride, beta=beta, stochdepth_rate=rate))
            channels = config.widths[stage]
        width = int(config.final_conv_multiplier * channels)
        self.final_conv = WSConv2D(init.scope("final_conv"), channels, width, 1)
        self.dropout = Dropout(init.scope("dropout"), config.drop_rate)
        self.linear = Linear(init.scope("linear"), width, config.num_classes, standard_deviation=0.01)

    def stem(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """The convolutions before the first block, a nonlinearity between them and none after the last."""
        x = self.stem_convs[0](x)
        for conv in self.stem_convs[1:]:
            x = conv(self.activation(x))
        return x

    def head(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """What is averaged over the image: the final convolution and its nonlinearity."""
        return self.activation(self.final_conv(x))


def variants() -> Iterator[tuple[str, NFNetConfig]]:
    """F0 … F7 and F0+ … F7+ (Brock et al., 2021b, tables 1 and 6): depth grows with k, so do pixels and dropout."""
    pixels = ((192, 256), (224, 320), (256, 352), (320, 416), (384, 512), (416, 544), (448, 576), (480, 608))
    dropout = (0.2, 0.3, 0.4, 0.4, 0.5, 0.5, 0.5, 0.5)
    for k, ((train_size, test_size), drop_rate) in enumerate(zip(pixels, dropout, strict=True)):
        depths = tuple(depth * (k + 1) for depth in (1, 2, 6, 3))
        for suffix, widths in (("", (256, 512, 1536, 1536)), ("+", (384, 768, 2048, 2048))):
            yield f"nfnet_f{k}{suffix}", NFNetConfig(
                widths=widths, depths=depths, drop_rate=drop_rate, stochdepth_rate=0.25, train_size=train_size,
                test_size=test_size)
    yield from _small_variants()


def _small_variants() -> Iterator[tuple[str, NFNetConfig]]:
    """For images of 8 to 64 pixels: the stems keep enough of the image for three or four stages."""
    for pixels, stem_strides, strides, widths in (
            (8, (1, 1, 1, 1), (1, 2, 2), (32, 64, 96)),
            (16, (1, 1, 1, 1), (1, 2, 2), (32, 64, 128)),
            (32, (1, 1, 1, 1), (1, 2, 2, 2), (32, 64, 128, 128)),
            (64, (1, 1, 1, 2), (1, 2, 2, 2), (64, 128, 256, 256))):
        stem_widths = tuple(max(8, widths[0] * share // 4) for share in (1, 1, 2, 2))
        yield f"nfnet_{pixels}px", NFNetConfig(
            widths=widths, depths=(1,) * len(widths), strides=strides, group_size=16, stem_widths=stem_widths,
            stem_strides=stem_strides, drop_rate=0.1, num_classes=10, train_size=pixels, test_size=pixels)
    # Most of its arithmetic on 16×16 pixels and less, where channels are many and CPUs fast.
    yield "nfnet_wide_32px", NFNetConfig(
        widths=(128, 256, 512), depths=(1, 2, 1), strides=(1, 2, 2), group_size=64, stem_widths=(16, 16, 32, 32),
        stem_strides=(1, 1, 1, 2), drop_rate=0.1, num_classes=10, train_size=32, test_size=32)
