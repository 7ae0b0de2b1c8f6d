"""Batch normalization as a layer: learned scale and shift, running statistics.

Source: Ioffe, Szegedy (2015), arXiv 1502.03167. The formulas: functional/normalization.py.
Used by: models/. Test: reference_tests/nn/test_normalization.py.
"""

from typing import Any, NamedTuple

from .. import ops
from ..autograd import Tensor, is_recomputing
from ..backend.arrays import Array
from ..errors import InputError
from ..functional.normalization import Moments, batch_moments
from .initialization import Initializer
from .mode import EVALUATION, Mode
from .module import Module


class Convention(NamedTuple):
    """How a framework keeps running statistics: new = decay·old + (1 - decay)·batch."""

    decay: float
    eps: float
    unbiased: bool  # whether the variance of the batch enters times n/(n - 1)


CONVENTIONS = {"torch": Convention(0.9, 1e-5, True), "keras": Convention(0.99, 1e-3, False)}


class BatchNorm(Module):
    """gamma·(x - mean)/sqrt(variance + eps) + beta over the last axis' channels, of x (N, H, W, channels).

    In training the moments are those of the batch, and the running ones, buffers, take them in; in evaluation they are
    the running ones. Beside images of float16 or bfloat16 parameters and moments stay in float32. initial_gamma: 0 for
    the last normalization of a residual branch that shall start as nothing.
    """

    def __init__(self, init: Initializer, channels: int, convention: str = "torch", *,
                 initial_gamma: float = 1.0) -> None:
        if convention not in CONVENTIONS:
            raise InputError(f"{init.path}: convention {convention!r}: expected one of {', '.join(CONVENTIONS)}")
        self.convention = CONVENTIONS[convention]
        self.gamma = init.constant((channels,), initial_gamma)
        self.beta = init.constant((channels,), 0.0)
        self.running_mean: Array
        self.running_variance: Array
        self.register_buffer("running_mean", init.filled((channels,), 0.0))
        self.register_buffer("running_variance", init.filled((channels,), 1.0))

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        x = x if isinstance(x, Tensor) else Tensor(x)
        eps = self.convention.eps
        if not mode.normalizes_by_batch:
            return ops.normalize(x, self.gamma, self.beta, self.running_mean, self.running_variance, eps=eps)
        moments = batch_moments(x.data)
        out = ops.batch_norm(x, self.gamma, self.beta, moments.mean, moments.variance, eps=eps)
        if mode.update_statistics and not is_recomputing():
            self._take_in(moments)
        return out

    def _take_in(self, moments: Moments) -> None:
        """Update the running statistics with those of a batch."""
        decay, _, unbiased = self.convention
        mean, variance, values = moments
        if unbiased:
            variance = variance * (values / max(1, values - 1))
        self.running_mean = decay * self.running_mean + (1.0 - decay) * mean
        self.running_variance = decay * self.running_variance + (1.0 - decay) * variance


NORMS: dict[str, dict[str, Any]] = {  # name: options of BatchNorm
    "batch": {"convention": "torch"},
    "batch_keras": {"convention": "keras"},
}


def create_norm(init: Initializer, channels: int, name: str = "batch", *, initial_gamma: float = 1.0) -> BatchNorm:
    """The normalization layer called `name`; InputError for an unknown one."""
    if name not in NORMS:
        raise InputError(f"{init.path}: normalization {name!r}: expected one of {', '.join(NORMS)}")
    return BatchNorm(init, channels, initial_gamma=initial_gamma, **NORMS[name])
