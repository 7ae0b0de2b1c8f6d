"""Batch normalization as a layer, and the running statistics that it uses in evaluation.

Source: Ioffe, Szegedy (2015), arXiv 1502.03167. The formulas: functional/normalization.py.
Used by: normalization.py, switchable_norm.py, models/. Test: reference_tests/nn/test_normalization.py.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from .. import ops
from ..autograd import Tensor, is_recomputing
from ..backend import as_array, namespace
from ..backend.arrays import Array
from ..errors import InputError
from ..functional.activations import ALONG_THE_LAST_AXIS, is_known_by_output
from ..functional.checks import shown, whole_number
from ..functional.normalization import Moments, batch_moments
from .initialization import Initializer
from .layers import Nonlinearity
from .mode import EVALUATION, Mode
from .module import Module


class Convention(NamedTuple):
    """How a framework keeps running statistics: new = old + weight·(batch - old), with a weight of 1 - decay.

    debiased: whether the weight is (1 - decay)/(1 - decayᵗ) for the t-th batch, so that the first one counts fully and
    the value before it not at all. It is the average Σ decayᵗ⁻ᵏ·batchₖ divided by the sum of its weights; for a decay
    of 1 that is the plain mean of all batches.
    """

    decay: float
    eps: float
    unbiased: bool = False  # whether the variance of the batch enters times n/(n - 1)
    debiased: bool = False


CONVENTIONS = {
    "torch": Convention(0.9, 1e-5, unbiased=True),
    "keras": Convention(0.99, 1e-3),  # also EfficientNet's
    "haiku": Convention(0.9, 1e-5, debiased=True),  # the authors' ResNets
}


class BatchStatistics(Module):
    """A layer with the running mean and variance of what it normalizes, in buffers (channels,).

    They start at 0 and 1. A convention that is debiased has one more buffer, `counter`: the number of batches so far.
    """

    convention: Convention
    running_mean: Array
    running_variance: Array
    counter: Array

    def start_statistics(self, init: Initializer, channels: int, convention: Convention) -> None:
        """Make the buffers."""
        self.convention = convention
        self.register_buffer("running_mean", init.filled((channels,), 0.0))
        self.register_buffer("running_variance", init.filled((channels,), 1.0))
        if convention.debiased:
            self.register_buffer("counter", init.backend.xp.zeros((), dtype="int64"))

    def take_in(self, moments: Moments, mode: Mode) -> None:
        """Add the moments of a batch to the running ones, unless this pass sees a batch again."""
        if not mode.update_statistics or is_recomputing():
            return
        mean, variance, values = moments
        if self.convention.unbiased:
            variance = variance * (values / max(1, values - 1))
        weight = self._weight_of_next()
        self.running_mean = self.running_mean + weight * (mean - self.running_mean)
        self.running_variance = self.running_variance + weight * (variance - self.running_variance)

    def _weight_of_next(self) -> Array | float:
        """The weight of the batch that is taken in now; counts it."""
        decay, _, _, debiased = self.convention
        if not debiased:
            return 1.0 - decay
        self.counter = as_array(self.counter + 1)
        count = namespace(self.counter).astype(self.counter, self.running_mean.dtype)
        return 1.0 / count if decay == 1.0 else (1.0 - decay) / (1.0 - decay**count)


class BatchNorm(BatchStatistics):
    """gamma·(x - mean)/sqrt(variance + eps) + beta over the last axis' channels, of x (N, H, W, channels).

    In training the moments are those of the batch (with `mode.joint_sum`, of the joint batch of all devices), and the
    running ones, buffers, take them in; in evaluation they are the running ones. Beside images of float16 or bfloat16
    parameters and moments stay in float32. convention: torch, keras or haiku. initial_gamma: 0 for the last
    normalization of a residual branch that shall start as nothing.
    """

    def __init__(self, init: Initializer, channels: int, convention: str = "torch", *,
                 initial_gamma: float = 1.0) -> None:
        if not isinstance(convention, str) or convention not in CONVENTIONS:
            raise InputError(f"{init.path}: convention {shown(convention)}: expected one of {', '.join(CONVENTIONS)}")
        whole_number(channels, f"{init.path}: channels", least=1)
        self.gamma = init.constant((channels,), initial_gamma)
        self.beta = init.constant((channels,), 0.0)
        self.start_statistics(init, channels, CONVENTIONS[convention])

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        if mode.normalizes_by_batch:
            return self._by_batch(ops.batch_norm, x, mode)
        return ops.normalize(x, self.gamma, self.beta, self.running_mean, self.running_variance,
                             eps=self.convention.eps)

    def activated(self, x: Tensor, mode: Mode, activation: Nonlinearity) -> Tensor:
        """activation(self(x, mode)); with the moments of the batch that is one operation, which keeps x alone.

        But for relu, which keeps its result, as the next layer does anyway.
        """
        name, gamma = activation.name, activation.gamma
        is_separate = gamma != 1.0 or name in ALONG_THE_LAST_AXIS or is_known_by_output(name, gamma)
        if is_separate or not mode.normalizes_by_batch:
            return activation(self(x, mode))
        return self._by_batch(ops.activated_batch_norm, x, mode, name=name)

    def _by_batch(self, operation: Callable[..., Tensor], x: Tensor, mode: Mode, **options: Any) -> Tensor:
        """An operation with the moments of x, which the running statistics take in when it has gone well."""
        x = x if isinstance(x, Tensor) else Tensor(x)
        moments = batch_moments(x.data, joint_sum=mode.joint_sum)
        out = operation(x, self.gamma, self.beta, moments.mean, moments.variance, eps=self.convention.eps,
                        joint_sum=mode.joint_sum, **options)
        self.take_in(moments, mode)
        return out
