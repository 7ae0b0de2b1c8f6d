"""NF-RegNet: the EfficientNet-sized family with narrow groups, silu, and squeeze-and-excite inside the bottleneck.

Source: Brock, De, Smith (2021a), arXiv 2101.08692, section 5 and appendix; where the authors' released code differs,
it decides.
Used by: models/registry.py. Test: reference_tests/models/test_models_against_torch.py.
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

from .. import ops
from ..autograd import Tensor
from ..nn import EVALUATION, Dropout, Initializer, Linear, Mode, Nonlinearity, SqueezeExcite, StochasticDepth, WSConv2D
from .base import ImageClassifier
from .config import check_config
from .skip_init import SkipInitBlock, block_schedule


@dataclasses.dataclass(frozen=True)
class NFRegNetConfig:
    """What an NF-RegNet is made of; tuples have one value a stage, `widths` are the paper's, before the factor."""

    widths: tuple[int, ...] = (48, 104, 208, 440)
    depths: tuple[int, ...] = (1, 3, 6, 6)
    strides: tuple[int, ...] = (2, 2, 2, 2)
    width_factor: float = 0.75
    group_size: int = 8
    expansion: float = 2.25  # 1 in the network's first block
    se_ratio: float = 0.5
    alpha: float = 0.2
    activation: str = "silu"
    stem_stride: int = 2
    drop_rate: float = 0.0
    stochdepth_rate: float = 0.0
    num_classes: int = 1000
    in_channels: int = 3
    train_size: int = 192  # pixels
    test_size: int = 224

    EVAL_KEEPS_ASPECT: ClassVar[bool] = True  # images are resized in proportion for the authors' evaluation

    def __post_init__(self) -> None:
        check_config(self, ("widths", "depths", "strides"))

    def channels(self, stage: int) -> int:
        """Channels of a stage's blocks."""
        return int(self.widths[stage] * self.width_factor)


class NFRegNetBlock(SkipInitBlock):
    """activation → 1×1 → 3×3 grouped (carries the stride) → squeeze-and-excite → activation → 1×1."""

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, config: NFRegNetConfig, *, stride: int,
                 beta: float, expansion: float, stochdepth_rate: float) -> None:
        self.stride = stride
        self.beta = beta
        self.alpha = config.alpha
        self.activation = Nonlinearity(config.activation)
        groups = max(1, int(in_channels * expansion) // config.group_size)
        width = groups * config.group_size
        self.conv_shortcut: WSConv2D | None = None
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = WSConv2D(init.scope("conv_shortcut"), in_channels, out_channels, 1)
        self.conv0 = WSConv2D(init.scope("conv0"), in_channels, width, 1)
        self.conv1 = WSConv2D(init.scope("conv1"), width, width, 3, stride=stride, groups=groups)
        self.squeeze_excite = SqueezeExcite(init.scope("squeeze_excite"), width, config.se_ratio)
        self.conv2 = WSConv2D(init.scope("conv2"), width, out_channels, 1)
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
        out = self.squeeze_excite(self.conv1(self.activation(out)))
        return shortcut, self.conv2(self.activation(out))


class NFRegNet(ImageClassifier):
    """A normalizer-free RegNet, from an NFRegNetConfig."""

    def build(self, init: Initializer) -> None:
        """Make the layers, top to bottom."""
        config = self.config
        channels = config.channels(0)
        self.activation = Nonlinearity(config.activation)
        self.initial_conv = WSConv2D(init.scope("initial_conv"), config.in_channels, channels, 3,
                                     stride=config.stem_stride)
        self.blocks = []
        for stage, position, beta, rate in block_schedule(config.depths, config.alpha, config.stochdepth_rate):
            stride = config.strides[stage] if position == 0 else 1
            expansion = config.expansion if self.blocks else 1
            self.blocks.append(NFRegNetBlock(
                init.scope(f"blocks.{len(self.blocks)}"), channels, config.channels(stage), config, stride=stride,
                beta=beta, expansion=expansion, stochdepth_rate=rate))
            channels = config.channels(stage)
        width = int(1280 * channels // 440)
        self.final_conv = WSConv2D(init.scope("final_conv"), channels, width, 1)
        self.dropout = Dropout(init.scope("dropout"), config.drop_rate)
        self.linear = Linear(init.scope("linear"), width, config.num_classes, standard_deviation=0.0)

    def stem(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """The initial convolution."""
        return self.initial_conv(x)

    def head(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """What is averaged over the image: the final convolution and its nonlinearity."""
        return self.activation(self.final_conv(x))


def variants() -> Iterator[tuple[str, NFRegNetConfig]]:
    """NF-RegNet-B0 … B8 (Brock, De, Smith, 2021a, appendix), and one for images of 32 pixels."""
    table = (
        ((48, 104, 208, 440), (1, 3, 6, 6), 192, 224, 0.2), ((48, 104, 208, 440), (2, 4, 7, 7), 224, 256, 0.2),
        ((56, 112, 232, 488), (2, 4, 8, 8), 240, 272, 0.3), ((56, 128, 248, 528), (2, 5, 9, 9), 288, 320, 0.3),
        ((64, 144, 288, 616), (2, 6, 11, 11), 320, 384, 0.4), ((80, 168, 336, 704), (3, 7, 14, 14), 384, 456, 0.4),
        ((88, 184, 376, 792), (3, 8, 16, 16), 448, 528, 0.5), ((96, 208, 416, 880), (4, 10, 19, 19), 512, 600, 0.5),
        ((104, 232, 456, 968), (4, 11, 22, 22), 600, 672, 0.5))
    for k, (widths, depths, train_size, test_size, drop_rate) in enumerate(table):
        yield f"nf_regnet_b{k}", NFRegNetConfig(widths=widths, depths=depths, train_size=train_size,
                                                test_size=test_size, drop_rate=drop_rate, stochdepth_rate=0.1)
    yield "nf_regnet_32px", NFRegNetConfig(widths=(32, 64, 128), depths=(1, 2, 2), strides=(1, 2, 2), stem_stride=1,
                                           drop_rate=0.1, num_classes=10, train_size=32, test_size=32)
