"""The metrics of a training step, copied to the host without a synchronization of the GPU."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ..backend.arrays import Array
from ..errors import NotFinite
from ..optim import Optimizer


class StepValues(NamedTuple):
    """A step's numbers.

    loss: the mean; correct: number of images classified correctly; clipped: share of units that AGC clipped;
    clipped_counts: how many it clipped in each parameter; gradient_norm: None where it was not measured.
    """

    loss: float
    correct: int
    clipped: float
    clipped_counts: list[int]
    gradient_norm: float | None


class StepMetrics:
    """The values of step number `step`: arrays () of `backend`, which are being copied to the host.

    optimizer: after its step, with the counts of units that AGC clipped; gradient_norm: an array (), times the loss
    scale of float16 if the optimizer has one; None where it was not measured.
    """

    def __init__(self, backend: Any, step: int, loss: Array, correct: Array, optimizer: Optimizer,
                 gradient_norm: Array | None = None) -> None:
        self.step = step
        self._loss_scale = optimizer.loss_scale
        self._units = max(1, optimizer.units)
        self._has_norm = gradient_norm is not None
        xp = backend.xp
        zero = xp.zeros_like(loss)
        skipped = zero if self._loss_scale is None else self._loss_scale.skipped_steps
        norm = zero if gradient_norm is None else gradient_norm
        values = xp.stack([xp.astype(value, xp.float64) for value in (loss, correct, skipped, norm)])
        if optimizer.clipped_counts is not None:
            values = xp.concat([values, xp.astype(optimizer.clipped_counts, xp.float64)])
        self._values = backend.copy_to_host_async(values)

    def read(self) -> StepValues:
        """The values; waits for the copy to the host.

        Raises NotFinite for a loss that is not finite, and when the loss scale has skipped too many steps.
        """
        loss, correct, skipped, norm, *counts = self._values().tolist()
        check_loss(loss, self.step)
        if self._loss_scale is not None:
            self._loss_scale.check(int(skipped))
        return StepValues(loss, int(correct), sum(counts) / self._units, list(map(int, counts)),
                          norm if self._has_norm else None)


def check_loss(loss: float, step: int) -> None:
    """Raise NotFinite if the loss of `step` is not finite."""
    if not math.isfinite(loss):
        raise NotFinite(f"the loss became {loss} at step {step}")


class DelayedMetrics:
    """Iterates over the values of the steps in `metrics`; each is read after the next step has been started.

    So the GPU computes a step while the host prepares the next one. Steps for which `at_once(step)` is true are read
    before the next one is started: the model is then still in the state that the values describe.
    """

    def __init__(self, metrics: Iterable[StepMetrics], at_once: Callable[[int], bool]) -> None:
        self._metrics = metrics
        self._at_once = at_once

    def __iter__(self) -> Iterator[StepValues]:
        unread = None
        for metrics in self._metrics:
            if unread is not None:
                yield unread.read()
            unread = metrics
            if self._at_once(metrics.step):
                yield unread.read()
                unread = None
        if unread is not None:
            yield unread.read()
