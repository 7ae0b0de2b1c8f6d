"""Inception v3: every module sends its input through several branches and concatenates what they give.

Source: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna (2015), arXiv 1512.00567: table 1 (the network), figures 5, 6, 7 and 10
(the modules). Where the released network differs, it decides: it has a 5×5 convolution in module A, and convolutions
other than the paper's in the stem. The auxiliary classifier, a second loss for training alone, is left out.
Used by: models/registry.py. Test: reference_tests/models/test_baselines_against_torch.py.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

from .. import ops
from ..autograd import Tensor
from ..nn import EVALUATION, ConvNorm, Dropout, Initializer, Linear, Mode, Nonlinearity
from .base import Block, ImageClassifier
from .config import check_config

RELU = Nonlinearity("relu", scaled=False)


@dataclasses.dataclass(frozen=True)
class InceptionV3Config:
    """What an Inception v3 is made of; all channels are multiplied by `width_factor` and rounded down."""

    pool_widths: tuple[int, ...] = (32, 64, 64)  # of every module A: channels of its pooling branch
    factorized_widths: tuple[int, ...] = (128, 160, 160, 192)  # of every module C: channels between its 7-wide kernels
    expanded_modules: int = 2  # modules E
    width_factor: float = 1.0
    drop_rate: float = 0.0
    num_classes: int = 1000
    in_channels: int = 3
    train_size: int = 299  # pixels
    test_size: int = 299

    EVAL_KEEPS_ASPECT: ClassVar[bool] = True
    EVAL_MARGIN: ClassVar[int] = 43  # pixels: 299 of 342, the share of 0.875 in the authors' evaluation
    NORMALIZATION: ClassVar[str] = "inception"  # of published weights: -1 … 1

    def __post_init__(self) -> None:
        check_config(self, ())

    def width(self, channels: int) -> int:
        """The channels of a convolution that has `channels` in the paper."""
        return max(1, int(channels * self.width_factor))


def chain(init: Initializer, in_channels: int, *layers: tuple[Any, ...]) -> list[ConvNorm]:
    """Convolutions in sequence, each with its norm, from (out_channels, kernel_size) or (…, stride, padding)."""
    convs = []
    for k, (out_channels, kernel_size, *geometry) in enumerate(layers):
        stride, padding = geometry or (1, "SAME")
        convs.append(ConvNorm(init.scope(str(k)), in_channels, out_channels, kernel_size, stride=stride,
                              padding=padding, norm="batch_keras"))
        in_channels = out_channels
    return convs


def run(x: Tensor, convs: list[ConvNorm], mode: Mode) -> Tensor:
    """x through a chain, a relu after every norm."""
    for conv in convs:
        x = conv(x, mode, RELU)
    return x


def channels_of(*chains: list[ConvNorm]) -> int:
    """How many channels the chains give together."""
    return sum(convs[-1].conv.weight.shape[3] for convs in chains)


def average_of_neighbours(x: Tensor) -> Tensor:
    """3×3 average pool with stride 1 that counts a frame of zeros: always a ninth of the sum."""
    return ops.avg_pool(ops.pad(x, widths=((0, 0), (1, 1), (1, 1), (0, 0))), window=3, stride=1, padding="VALID")


class InceptionModule(Block):
    """Branches whose outputs are concatenated."""

    in_channels: int
    out_channels: int

    def outputs(self, x: Tensor, mode: Mode) -> list[Tensor]:
        """What the branches give for x, in order."""
        raise NotImplementedError

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        return ops.concatenate(*self.outputs(x, mode), axis=3)

    def description(self) -> str:
        """The module's letter and its channels."""
        return f"module {type(self).__name__[-1]}, {self.in_channels} -> {self.out_channels}"


class ModuleA(InceptionModule):
    """1×1; 1×1 → 5×5; 1×1 → 3×3 → 3×3; average pool → 1×1 (figure 5)."""

    def __init__(self, init: Initializer, in_channels: int, config: InceptionV3Config, pool_width: int) -> None:
        w = config.width
        self.in_channels = in_channels
        self.branch1x1 = chain(init.scope("branch1x1"), in_channels, (w(64), 1))
        self.branch5x5 = chain(init.scope("branch5x5"), in_channels, (w(48), 1), (w(64), 5))
        self.branch3x3_3x3 = chain(init.scope("branch3x3_3x3"), in_channels, (w(64), 1), (w(96), 3), (w(96), 3))
        self.branch_pool = chain(init.scope("branch_pool"), in_channels, (w(pool_width), 1))
        self.out_channels = channels_of(self.branch1x1, self.branch5x5, self.branch3x3_3x3, self.branch_pool)

    def outputs(self, x: Tensor, mode: Mode) -> list[Tensor]:
        """What the branches give for x, in order."""
        return [run(x, self.branch1x1, mode), run(x, self.branch5x5, mode), run(x, self.branch3x3_3x3, mode),
                run(average_of_neighbours(x), self.branch_pool, mode)]


class ModuleB(InceptionModule):
    """Half the pixels: strided 3×3; 1×1 → 3×3 → strided 3×3; max pool (figure 10)."""

    def __init__(self, init: Initializer, in_channels: int, config: InceptionV3Config) -> None:
        w = config.width
        self.in_channels = in_channels
        self.branch3x3 = chain(init.scope("branch3x3"), in_channels, (w(384), 3, 2, "VALID"))
        self.branch3x3_3x3 = chain(init.scope("branch3x3_3x3"), in_channels, (w(64), 1), (w(96), 3),
                                   (w(96), 3, 2, "VALID"))
        self.out_channels = channels_of(self.branch3x3, self.branch3x3_3x3) + in_channels

    def outputs(self, x: Tensor, mode: Mode) -> list[Tensor]:
        """What the branches give for x, in order."""
        return [run(x, self.branch3x3, mode), run(x, self.branch3x3_3x3, mode),
                ops.max_pool(x, window=3, stride=2, padding="VALID")]


class ModuleC(InceptionModule):
    """1×1; 1×1 → 1×7 → 7×1; 1×1 → 7×1 → 1×7 → 7×1 → 1×7; average pool → 1×1 (figure 6, n = 7)."""

    def __init__(self, init: Initializer, in_channels: int, config: InceptionV3Config, width: int) -> None:
        w, inner = config.width, config.width(width)
        self.in_channels = in_channels
        self.branch1x1 = chain(init.scope("branch1x1"), in_channels, (w(192), 1))
        self.branch7x7 = chain(init.scope("branch7x7"), in_channels, (inner, 1), (inner, (1, 7)), (w(192), (7, 1)))
        self.branch7x7_7x7 = chain(init.scope("branch7x7_7x7"), in_channels, (inner, 1), (inner, (7, 1)),
                                   (inner, (1, 7)), (inner, (7, 1)), (w(192), (1, 7)))
        self.branch_pool = chain(init.scope("branch_pool"), in_channels, (w(192), 1))
        self.out_channels = channels_of(self.branch1x1, self.branch7x7, self.branch7x7_7x7, self.branch_pool)

    def outputs(self, x: Tensor, mode: Mode) -> list[Tensor]:
        """What the branches give for x, in order."""
        return [run(x, self.branch1x1, mode), run(x, self.branch7x7, mode), run(x, self.branch7x7_7x7, mode),
                run(average_of_neighbours(x), self.branch_pool, mode)]


class ModuleD(InceptionModule):
    """Half the pixels: 1×1 → strided 3×3; 1×1 → 1×7 → 7×1 → strided 3×3; max pool (figure 10's form)."""

    def __init__(self, init: Initializer, in_channels: int, config: InceptionV3Config) -> None:
        w = config.width
        self.in_channels = in_channels
        self.branch3x3 = chain(init.scope("branch3x3"), in_channels, (w(192), 1), (w(320), 3, 2, "VALID"))
        self.branch7x7_3x3 = chain(init.scope("branch7x7_3x3"), in_channels, (w(192), 1), (w(192), (1, 7)),
                                   (w(192), (7, 1)), (w(192), 3, 2, "VALID"))
        self.out_channels = channels_of(self.branch3x3, self.branch7x7_3x3) + in_channels

    def outputs(self, x: Tensor, mode: Mode) -> list[Tensor]:
        """What the branches give for x, in order."""
        return [run(x, self.branch3x3, mode), run(x, self.branch7x7_3x3, mode),
                ops.max_pool(x, window=3, stride=2, padding="VALID")]


class ModuleE(InceptionModule):
    """1×1; 1×1 → 1×3 beside 3×1; 1×1 → 3×3 → 1×3 beside 3×1; average pool → 1×1 (figure 7)."""

    def __init__(self, init: Initializer, in_channels: int, config: InceptionV3Config) -> None:
        w = config.width
        self.in_channels = in_channels
        self.branch1x1 = chain(init.scope("branch1x1"), in_channels, (w(320), 1))
        self.branch3x3 = chain(init.scope("branch3x3"), in_channels, (w(384), 1))
        self.branch3x3_1x3 = chain(init.scope("branch3x3_1x3"), w(384), (w(384), (1, 3)))
        self.branch3x3_3x1 = chain(init.scope("branch3x3_3x1"), w(384), (w(384), (3, 1)))
        self.branch3x3_3x3 = chain(init.scope("branch3x3_3x3"), in_channels, (w(448), 1), (w(384), 3))
        self.branch3x3_3x3_1x3 = chain(init.scope("branch3x3_3x3_1x3"), w(384), (w(384), (1, 3)))
        self.branch3x3_3x3_3x1 = chain(init.scope("branch3x3_3x3_3x1"), w(384), (w(384), (3, 1)))
        self.branch_pool = chain(init.scope("branch_pool"), in_channels, (w(192), 1))
        self.out_channels = channels_of(self.branch1x1, self.branch3x3_1x3, self.branch3x3_3x1, self.branch3x3_3x3_1x3,
                                        self.branch3x3_3x3_3x1, self.branch_pool)

    def outputs(self, x: Tensor, mode: Mode) -> list[Tensor]:
        """What the branches give for x, in order."""
        once, twice = run(x, self.branch3x3, mode), run(x, self.branch3x3_3x3, mode)
        return [run(x, self.branch1x1, mode), run(once, self.branch3x3_1x3, mode), run(once, self.branch3x3_3x1, mode),
                run(twice, self.branch3x3_3x3_1x3, mode), run(twice, self.branch3x3_3x3_3x1, mode),
                run(average_of_neighbours(x), self.branch_pool, mode)]


class InceptionV3(ImageClassifier):
    """An Inception v3, from an InceptionV3Config."""

    def build(self, init: Initializer) -> None:
        """Make the layers, top to bottom as the paper's table."""
        config = self.config
        w = config.width
        self.stem_convs = chain(init.scope("stem_convs"), config.in_channels, (w(32), 3, 2, "VALID"),
                                (w(32), 3, 1, "VALID"), (w(64), 3), (w(80), 1), (w(192), 3, 1, "VALID"))
        modules: list[tuple[Any, ...]] = [
            *((ModuleA, width) for width in config.pool_widths), (ModuleB,),
            *((ModuleC, width) for width in config.factorized_widths), (ModuleD,),
            *[(ModuleE,)] * config.expanded_modules]
        channels = channels_of(self.stem_convs)
        self.blocks = []
        for module, *width in modules:
            block = module(init.scope(f"blocks.{len(self.blocks)}"), channels, config, *width)
            self.blocks.append(block)
            channels = block.out_channels
        self.dropout = Dropout(init.scope("dropout"), config.drop_rate)
        self.linear = Linear(init.scope("linear"), channels, config.num_classes, standard_deviation=0.01)

    def stem(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """Three 3×3 convolutions and a max pool, a 1×1, a 3×3 and a max pool: an eighth of the image's side."""
        for convs in (self.stem_convs[:3], self.stem_convs[3:]):
            x = ops.max_pool(run(x, convs, mode), window=3, stride=2, padding="VALID")
        return x

    def head(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """What is averaged over the image: the last module's output."""
        return x


def variants() -> Iterator[tuple[str, InceptionV3Config]]:
    """The network of the paper, with dropout as it was released: 0.2 of the features."""
    yield "inception_v3", InceptionV3Config(drop_rate=0.2)
