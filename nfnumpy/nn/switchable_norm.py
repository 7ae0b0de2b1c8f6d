"""Switchable normalization as a layer: learned weights of instance, layer and batch.

Source: Luo et al. (2019), arXiv 1806.10779. The formulas: functional/switchable_normalization.py.
Used by: normalization.py. Test: reference_tests/nn/test_normalization.py.
"""

from .. import ops
from ..autograd import Tensor
from ..backend import as_array
from ..errors import InputError
from ..functional.checks import shown, whole_number
from ..functional.switchable_normalization import EPS, switchable_moments
from .batch_norm import BatchStatistics, Convention
from .initialization import Initializer
from .mode import EVALUATION, Mode

STATISTICS = {"moving": Convention(0.9, EPS), "averaged": Convention(1.0, EPS, debiased=True)}


class SwitchableNorm(BatchStatistics):
    """gamma·(x - Σ w·mean)/sqrt(Σ w'·variance + eps) + beta, sums over instance, layer and batch, of (N, …, channels).

    The weights are softmaxes of `mean_weights` (3,) and `variance_weights` (3,), which start at 1. In evaluation the
    batch's moments are running ones. statistics: "moving", a moving average of decay 0.9, or "averaged", the plain mean
    of all batches since `forget_statistics`, for a pass over a part of the data after training. unbiased: the variance
    of an instance as the authors' code has it.
    """

    def __init__(self, init: Initializer, channels: int, *, statistics: str = "moving", unbiased: bool = False,
                 initial_gamma: float = 1.0) -> None:
        if not isinstance(statistics, str) or statistics not in STATISTICS:
            raise InputError(f"{init.path}: statistics {shown(statistics)}: expected one of {', '.join(STATISTICS)}")
        whole_number(channels, f"{init.path}: channels", least=1)
        self.unbiased = unbiased
        self.gamma = init.constant((channels,), initial_gamma)
        self.beta = init.constant((channels,), 0.0)
        self.mean_weights = init.constant((3,), 1.0)
        self.variance_weights = init.constant((3,), 1.0)
        self.start_statistics(init, channels, STATISTICS[statistics])

    def forget_statistics(self) -> None:
        """Let the next batch be the first one that "averaged" statistics are a mean of."""
        if self.convention.debiased:
            self.counter = as_array(self.counter * 0)

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        x = x if isinstance(x, Tensor) else Tensor(x)
        inputs = (x, self.gamma, self.beta, self.mean_weights, self.variance_weights)
        options = {"eps": self.convention.eps, "unbiased": self.unbiased}
        if not mode.normalizes_by_batch:
            return ops.switchable_norm(*inputs, self.running_mean, self.running_variance, **options)
        batch, *instance = switchable_moments(x.data, unbiased=self.unbiased, joint_sum=mode.joint_sum)
        out = ops.switchable_norm(*inputs, batch.mean, batch.variance, *instance, joint_sum=mode.joint_sum, **options)
        self.take_in(batch, mode)
        return out
