"""Signal propagation plots: what a network does to the mean and variance of its activations, block by block.

Source: Brock, De, Smith (2021a), arXiv 2101.08692, section 3; of networks with batch normalization also De, Smith
(2020), arXiv 2002.10444, section 3. Test: reference_tests/models/test_signal_propagation.py,
test_signal_propagation_with_norms.py.
"""

import dataclasses
import math
from typing import Any

from ..autograd import Tensor, no_grad
from ..backend import namespace
from ..backend.arrays import Array
from ..errors import InputError
from ..models import NORMALIZER_FREE, ImageClassifier, ResNetV2Config
from ..models.base import ResidualBlock
from ..models.skip_init import block_schedule
from ..nn import EVALUATION, Mode


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


def signal_propagation(model: ImageClassifier, x: Tensor | Array, *, training: bool = False) -> list[BlockSignal]:
    """A BlockSignal for every block in order, for images x (N, H, W, in_channels) of the model's dtype.

    The end of the residual branch is what is added to the shortcut, before stochastic depth, skip gain and alpha: the
    output of the last convolution, its norm or squeeze-and-excite. The output of a post-activation block is that of the
    nonlinearity after the sum. Blocks without a shortcut, as in DenseNet and Inception, have no branch.

    training: whether layers act as in training: normalizations take the moments of x, and stochastic depth drops.
    A fresh network's running statistics are 0 and 1, of no batch: its norms do nothing in evaluation. The model stays
    as it is: running statistics take nothing in, and the next training pass draws the same numbers.
    """
    mode = Mode(training, model.randomness, update_statistics=False) if training else EVALUATION
    signals = []
    images = x if isinstance(x, Tensor) else Tensor(x)
    with no_grad():
        x = model.stem(images, mode)
        for block in model.blocks:
            res_avg_var = None
            if isinstance(block, ResidualBlock):
                shortcut, residual = block.branches(x, mode)
                _, res_avg_var = _moments(residual.data)
                x = block.add_residual(shortcut, residual, mode)
            else:
                x = block(x, mode)
            avg_sq_mean, avg_var = _moments(x.data)
            signals.append(BlockSignal(avg_sq_mean, avg_var, res_avg_var))
    return signals


def predicted_variances(config: Any) -> list[float]:
    """The variance after every block of a network at its initialization, by theory.

    NFNet, NF-ResNet, NF-RegNet, for skip gains of 1: 1 + alpha² after a stage's first block, then + alpha² each. That
    first block's shortcut is a projection of a normalized signal, of variance 1; other shortcuts are identities.

    ResNet version 2 with batch normalization, in training: see `predicted_with_batch_norm`.
    InputError for the configuration of another family.
    """
    if isinstance(config, ResNetV2Config):
        return [signal.avg_var for signal in predicted_with_batch_norm(config)]
    if not isinstance(config, NORMALIZER_FREE):
        raise InputError(f"predicted_variances: there is no prediction for a {type(config).__name__}; expected the "
                         f"configuration of an NFNet, NF-ResNet, NF-RegNet or ResNet version 2")
    predictions: list[float] = []
    for _, position, _, _ in block_schedule(config.depths, config.alpha, 0.0):
        before = 1.0 if position == 0 else predictions[-1]
        predictions.append(before + config.alpha**2)
    return predictions


RELU_MEAN = 1.0 / math.sqrt(2.0 * math.pi)  # of relu(z), z ~ N(0, 1)
RELU_VARIANCE = 0.5 - 1.0 / (2.0 * math.pi)


def predicted_with_batch_norm(config: ResNetV2Config) -> list[BlockSignal]:
    """The moments after every block of a fresh ResNet version 2 with batch normalization, in training.

    A norm gives N(0, 1), the relu after it mean 1/sqrt(2π) and variance 1/2 - 1/(2π) a channel, and a convolution with
    weights of N(0, 2/(k²·out)) multiplies squared means and variances by 2·in/out. So a branch ends with the same
    moments in every block of a stage, whatever its input, and those after the block grow by them: linearly, so that the
    branch is about 1/position of the sum. A stage's first block starts anew: its projection's input is normalized too.
    Padding is left out: a branch that ends in a 3×3 has a little less.

    InputError for another norm or nonlinearity, and where the first shortcut is no projection: the moments of the
    stem's output depend on the images.
    """
    if not config.norm.startswith("batch") or config.activation != "relu":
        raise InputError(f"signal propagation: the prediction for a ResNetV2Config expects batch normalization and "
                         f"relu, got norm={config.norm!r} and activation={config.activation!r}")
    if config.strides[0] == 1 and config.stem_width == config.widths[0]:
        raise InputError(f"signal propagation: there is no prediction where the first shortcut is the stem's output: "
                         f"stem_width={config.stem_width} is the first stage's width")
    signals: list[BlockSignal] = []
    channels = config.stem_width
    for width, depth, stride in zip(config.widths, config.depths, config.strides, strict=True):
        projects = stride > 1 or channels != width
        inner = width if config.block == "basic" else max(1, int(width * config.bottleneck_ratio))
        branch = 2.0 * inner / width
        factor = 2.0 * channels / width if projects else signals[-1].avg_var / RELU_VARIANCE
        for _ in range(depth):
            factor += branch
            signals.append(BlockSignal(factor * RELU_MEAN**2, factor * RELU_VARIANCE, branch * RELU_VARIANCE))
        channels = width
    return signals
