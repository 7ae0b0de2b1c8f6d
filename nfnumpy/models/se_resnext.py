"""SE-ResNeXt: a ResNeXt with squeeze-and-excite at the end of every branch.

Source: Hu, Shen, Sun (2017), arXiv 1709.01507, figure 3 and table 1: the gate is a plain sigmoid, and the hidden layer
has a sixteenth of the channels.
Used by: models/registry.py, models/se_resnext_d.py. Test: reference_tests/models/test_resnets_against_torch.py.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

from ..autograd import Tensor
from ..nn import EVALUATION, Initializer, Mode, SqueezeExcite
from .resnext import ResNeXt, ResNeXtBlock, ResNeXtConfig


@dataclasses.dataclass(frozen=True)
class SEResNeXtConfig(ResNeXtConfig):
    """What an SE-ResNeXt is made of: a ResNeXt's fields, and the share of the channels that squeeze-and-excite has."""

    se_ratio: float = 1 / 16


class SEResNeXtBlock(ResNeXtBlock):
    """1×1 → activation → 3×3 grouped (carries the stride) → activation → 1×1 → squeeze-and-excite."""

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, config: SEResNeXtConfig, *, stride: int,
                 stochdepth_rate: float) -> None:
        super().__init__(init, in_channels, out_channels, config, stride=stride, stochdepth_rate=stochdepth_rate)
        self.squeeze_excite = SqueezeExcite(init.scope("squeeze_excite"), out_channels, config.se_ratio, scale=1.0)

    def branches(self, x: Tensor, mode: Mode = EVALUATION) -> tuple[Tensor, Tensor]:
        """(shortcut, residual) of x (N, H, W, in)."""
        shortcut, residual = super().branches(x, mode)
        return shortcut, self.squeeze_excite(residual)


class SEResNeXt(ResNeXt):
    """An SE-ResNeXt, from an SEResNeXtConfig: stem and head are ResNet's."""

    def block_class(self) -> type[Any]:
        """What the blocks are made of."""
        return SEResNeXtBlock


def variants() -> Iterator[tuple[str, SEResNeXtConfig]]:
    """SE-ResNeXt-50 32×4d (Hu et al., 2017, table 1), and four for small images that cost what small NFNets cost."""
    yield "seresnext50_32x4d", SEResNeXtConfig()
    for pixels, stem_width, stem_stride, group_width, widths in (
            (8, 32, 1, 4, (64, 96, 160)), (16, 32, 1, 4, (64, 96, 208)), (32, 16, 1, 4, (64, 112, 160, 192)),
            (64, 32, 2, 8, (128, 256, 288, 320))):
        yield f"se_resnext_{pixels}px", SEResNeXtConfig(
            widths=widths, depths=(1,) * len(widths), strides=(1, 2, 2, 2)[:len(widths)], groups=8,
            group_width=group_width, se_ratio=0.25, stem_width=stem_width, stem_kernel=3, stem_stride=stem_stride,
            stem_pool=False, drop_rate=0.1, num_classes=10, train_size=pixels, test_size=pixels)
