"""Signal propagation plots: what a network does to the mean and variance of its activations, block by block.

Source: Brock, De, Smith (2021a), arXiv 2101.08692, section 3. Test: reference_tests/models/test_signal_propagation.py.
"""

import dataclasses
from typing import Any

from ..autograd import Tensor, no_grad
from ..backend import namespace
from ..backend.arrays import Array
from ..models import ImageClassifier
from ..models.base import ResidualBlock
from ..models.skip_init import block_schedule


@dataclasses.dataclass(frozen=True)
class BlockSignal:
    """The moments of activations after one block."""

    avg_sq_mean: float  # mean over channels of the squared channel mean
    avg_var: float  # mean over channels of the channel variance
    res_avg_var: float | None  # the same variance at the end of the residual branch; None without a branch


def _moments(x: Array) -> tuple[float, float]:
    """(mean over channels of the squared channel mean, the same of the channel variance) of x (N, H, W, C)."""
    xp = namespace(x)
    means = xp.mean(x, axis=(0, 1, 2))
    return float(xp.mean(means * means)), float(xp.mean(xp.var(x, axis=(0, 1, 2))))


def signal_propagation(model: ImageClassifier, x: Tensor | Array) -> list[BlockSignal]:
    """A BlockSignal for every block in order, for images x (N, H, W, in_channels) of the model's dtype."""
    signals = []
    images = x if isinstance(x, Tensor) else Tensor(x)
    with no_grad():
        x = model.stem(images)
        for block in model.blocks:
            res_avg_var = None
            if isinstance(block, ResidualBlock):
                shortcut, residual = block.branches(x)
                _, res_avg_var = _moments(residual.data)
                x = block.add_residual(shortcut, residual)
            else:
                x = block(x)
            avg_sq_mean, avg_var = _moments(x.data)
            signals.append(BlockSignal(avg_sq_mean, avg_var, res_avg_var))
    return signals


def predicted_variances(config: Any) -> list[float]:
    """The variance after every block, for skip gains of 1: 1 + alpha² after a stage's first block, then + alpha² each.

    That first block's shortcut is a projection of a normalized signal, of variance 1; other shortcuts are identities.
    """
    predictions: list[float] = []
    for _, position, _, _ in block_schedule(config.depths, config.alpha, 0.0):
        before = 1.0 if position == 0 else predictions[-1]
        predictions.append(before + config.alpha**2)
    return predictions
