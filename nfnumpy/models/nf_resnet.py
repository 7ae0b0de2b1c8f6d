"""NF-ResNet: the pre-activation bottleneck ResNet without normalization.

Source: Brock, De, Smith (2021a), arXiv 2101.08692, section 4; where the authors' released code differs, it decides.
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
class NFResNetConfig:
    """What an NF-ResNet is made of; tuples have one value a stage. The stem has widths[0]//4 channels."""

    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    bottleneck_ratio: float = 0.25
    use_se: bool = False
    se_ratio: float = 0.25
    alpha: float = 0.2
    activation: str = "relu"
    stem_kernel: int = 7
    stem_stride: int = 2
    stem_pool: bool = True
    drop_rate: float = 0.0
    stochdepth_rate: float = 0.0
    num_classes: int = 1000
    in_channels: int = 3
    train_size: int = 224  # pixels
    test_size: int = 224

    EVAL_KEEPS_ASPECT: ClassVar[bool] = True  # images are resized in proportion for the authors' evaluation

    def __post_init__(self) -> None:
        check_config(self, ("widths", "depths", "strides"))


class NFResBlock(SkipInitBlock):
    """activation → 1×1 → 3×3 (carries the stride) → 1×1 → squeeze-and-excite if `use_se`."""

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, config: NFResNetConfig, *, stride: int,
                 beta: float, stochdepth_rate: float) -> None:
        self.beta = beta
        self.alpha = config.alpha
        self.activation = Nonlinearity(config.activation)
        width = max(1, int(out_channels * config.bottleneck_ratio))
        self.conv_shortcut: WSConv2D | None = None
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = WSConv2D(init.scope("conv_shortcut"), in_channels, out_channels, 1, stride=stride)
        self.conv0 = WSConv2D(init.scope("conv0"), in_channels, width, 1)
        self.conv1 = WSConv2D(init.scope("conv1"), width, width, 3, stride=stride)
        self.conv2 = WSConv2D(init.scope("conv2"), width, out_channels, 1)
        self.squeeze_excite: SqueezeExcite | None = None
        if config.use_se:
            self.squeeze_excite = SqueezeExcite(init.scope("squeeze_excite"), out_channels, config.se_ratio)
        self.stochastic_depth = StochasticDepth(init.scope("stochastic_depth"), stochdepth_rate)
        self.skip_gain = init.constant((), 0.0)

    def branches(self, x: Tensor, mode: Mode = EVALUATION) -> tuple[Tensor, Tensor]:
        """(shortcut, residual) of x (N, H, W, in)."""
        out = self.activation(x, scale=self.beta)
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(out)
        out = self.conv0(out)
        out = self.conv1(self.activation(out))
        out = self.conv2(self.activation(out))
        if self.squeeze_excite is not None:
            out = self.squeeze_excite(out)
        return shortcut, out


class NFResNet(ImageClassifier):
    """A normalizer-free ResNet, from an NFResNetConfig."""

    def build(self, init: Initializer) -> None:
        """Make the layers, top to bottom."""
        config = self.config
        channels = config.widths[0] // 4
        self.activation = Nonlinearity(config.activation)
        self.initial_conv = WSConv2D(init.scope("initial_conv"), config.in_channels, channels, config.stem_kernel,
                                     stride=config.stem_stride)
        self.blocks = []
        for stage, position, beta, rate in block_schedule(config.depths, config.alpha, config.stochdepth_rate):
            stride = config.strides[stage] if position == 0 else 1
            self.blocks.append(NFResBlock(init.scope(f"blocks.{len(self.blocks)}"), channels, config.widths[stage],
                                          config, stride=stride, beta=beta, stochdepth_rate=rate))
            channels = config.widths[stage]
        self.dropout = Dropout(init.scope("dropout"), config.drop_rate)
        self.linear = Linear(init.scope("linear"), channels, config.num_classes, standard_deviation=0.01)

    def stem(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """The initial convolution and, for large images, the 3×3 stride-2 max pool."""
        x = self.initial_conv(x)
        return ops.max_pool(x, window=3, stride=2) if self.config.stem_pool else x

    def head(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """What is averaged over the image: the last block's output after the nonlinearity."""
        return self.activation(x)


def variants() -> Iterator[tuple[str, NFResNetConfig]]:
    """NF-ResNet-50 … 600 (Brock, De, Smith, 2021a), and one for images of 32 pixels."""
    depths = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3), 288: (24,) * 4,
              600: (50,) * 4}
    for layers, stages in depths.items():
        yield f"nf_resnet{layers}", NFResNetConfig(depths=stages, drop_rate=0.25, stochdepth_rate=0.1)
    yield "nf_resnet_32px", NFResNetConfig(widths=(64, 128, 256), depths=(2, 2, 2), strides=(1, 2, 2), stem_kernel=3,
                                           stem_stride=1, stem_pool=False, num_classes=10, train_size=32, test_size=32)
