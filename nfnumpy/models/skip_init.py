"""What the normalizer-free residual networks share: the sum with SkipInit, and the bookkeeping of expected_std.

Used by: models/nfnet.py, nf_resnet.py, nf_regnet.py, skipinit_resnet.py, analysis/signal_propagation.py.
Tests: reference_tests/models/test_models_against_torch.py, test_signal_propagation.py.
"""

import math
from collections.abc import Iterator

from .. import ops
from ..autograd import Tensor
from ..nn import EVALUATION, Conv2D, Mode, StochasticDepth, cast_like
from .base import ResidualBlock
from .residual import bottleneck_in_words


class SkipInitBlock(ResidualBlock):
    """A residual block whose branch is multiplied by alpha and by a learned scalar that starts at 0."""

    conv0: Conv2D
    conv1: Conv2D
    conv2: Conv2D
    stochastic_depth: StochasticDepth
    skip_gain: Tensor
    alpha: float

    def description(self) -> str:
        """Channels, the width and the groups inside the branch, and the stride."""
        return bottleneck_in_words(self.conv0, self.conv1, self.conv2)

    def add_residual(self, shortcut: Tensor, residual: Tensor, mode: Mode = EVALUATION) -> Tensor:
        """shortcut + alpha·skip_gain·stochastic_depth(residual)."""
        dropped = self.stochastic_depth(residual, mode)
        return ops.skip_init(shortcut, dropped, cast_like(self.skip_gain, residual), alpha=self.alpha)


def block_schedule(depths: tuple[int, ...], alpha: float,
                   stochdepth_rate: float) -> Iterator[tuple[int, int, float, float]]:
    """Yield (stage, position in stage, beta, drop rate) for every block in order.

    beta = 1/expected_std; after a block expected_std becomes √(expected_std² + alpha²), having first been reset to 1
    by a stage's first block, whose own beta still uses the std of the stage before. The drop rate grows linearly.
    Source: Brock, De, Smith (2021a), section 3, and the authors' released code.
    """
    expected_std = 1.0
    total = sum(depths)
    index = 0
    for stage, depth in enumerate(depths):
        for position in range(depth):
            yield stage, position, 1.0 / expected_std, stochdepth_rate * index / total
            variance = 1.0 if position == 0 else expected_std**2
            expected_std = math.sqrt(variance + alpha**2)
            index += 1
