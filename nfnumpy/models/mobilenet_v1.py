"""MobileNet, version 1: a convolution is a depthwise 3×3, which mixes pixels, and a 1×1, which mixes channels.

Source: Howard et al. (2017), arXiv 1704.04861, section 3 and table 1. The nonlinearity is relu6, as in the authors'
released code (the paper's figure 3 says relu); padding is symmetric, as in timm.
Used by: models/registry.py. Test: reference_tests/models/test_mobilenets_against_torch.py.
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

from ..autograd import Tensor
from ..nn import EVALUATION, ConvNorm, Dropout, Initializer, Linear, Mode, Nonlinearity
from .base import Block, ImageClassifier
from .config import check_config


@dataclasses.dataclass(frozen=True)
class MobileNetV1Config:
    """What a MobileNet is made of; tuples have one value a stage, `widths` are the output channels of its blocks."""

    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    depths: tuple[int, ...] = (1, 2, 2, 6, 2)
    strides: tuple[int, ...] = (1, 2, 2, 2, 2)
    stem_width: int = 32
    stem_stride: int = 2
    norm: str = "batch"
    activation: str = "relu6"
    drop_rate: float = 0.0
    num_classes: int = 1000
    in_channels: int = 3
    train_size: int = 224  # pixels
    test_size: int = 224

    EVAL_KEEPS_ASPECT: ClassVar[bool] = True  # images are resized in proportion for evaluation

    def __post_init__(self) -> None:
        check_config(self, ("widths", "depths", "strides"))


class DepthwiseSeparable(Block):
    """depthwise 3×3 (carries the stride) → activation → 1×1 → activation."""

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, config: MobileNetV1Config, *,
                 stride: int) -> None:
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.depthwise = ConvNorm(init.scope("depthwise"), in_channels, in_channels, 3, stride=stride, padding=1,
                                  groups=in_channels, norm=config.norm)
        self.pointwise = ConvNorm(init.scope("pointwise"), in_channels, out_channels, 1, padding=0, norm=config.norm)

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        out = self.depthwise(x, mode, self.activation)
        return self.pointwise(out, mode, self.activation)

    def description(self) -> str:
        """Channels and stride."""
        inputs, outputs = self.pointwise.conv.weight.shape[2:]
        return f"{inputs} -> {outputs}, stride {self.depthwise.conv.stride}"


class MobileNetV1(ImageClassifier):
    """A MobileNet, from a MobileNetV1Config."""

    def build(self, init: Initializer) -> None:
        """Make the layers, top to bottom as table 1 of the paper."""
        config = self.config
        channels = config.stem_width
        self.activation = Nonlinearity(config.activation, scaled=False)
        self.initial_conv = ConvNorm(init.scope("initial_conv"), config.in_channels, channels, 3,
                                     stride=config.stem_stride, padding=1, norm=config.norm)
        self.blocks = []
        for width, depth, first_stride in zip(config.widths, config.depths, config.strides, strict=True):
            for position in range(depth):
                scope = init.scope(f"blocks.{len(self.blocks)}")
                stride = first_stride if position == 0 else 1
                self.blocks.append(DepthwiseSeparable(scope, channels, width, config, stride=stride))
                channels = width
        self.dropout = Dropout(init.scope("dropout"), config.drop_rate)
        self.linear = Linear(init.scope("linear"), channels, config.num_classes, standard_deviation=0.01)

    def stem(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """The initial convolution and its nonlinearity."""
        return self.initial_conv(x, mode, self.activation)

    def head(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """What is averaged over the image: the last block's output."""
        return x


def variants() -> Iterator[tuple[str, MobileNetV1Config]]:
    """The network of table 1, whose width multiplier is 1."""
    yield "mobilenetv1", MobileNetV1Config()
