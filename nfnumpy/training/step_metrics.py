"""The metrics of a training step, copied to the host without a synchronization of the GPU."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ..backend.arrays import Array
from ..errors import NotFinite
from ..optim import LossScale


class StepValues(NamedTuple):
    """A step's numbers: mean loss, number of images classified correctly, share of units that AGC clipped."""

    loss: float
    correct: int
    clipped: float


class StepMetrics:
    """The values of step number `step`: arrays () of `backend`, which are being copied to the host.

    clipped: how many units AGC clipped, of the `units` that it checked; None without AGC. loss_scale: of float16.
    """

    def __init__(self, backend: Any, step: int, loss: Array, correct: Array, clipped: Array | None, units: int,
                 loss_scale: LossScale | None = None) -> None:
        self.step = step
        self._loss_scale = loss_scale
        self._units = max(1, units)
        xp = backend.xp
        if clipped is None:
            clipped = xp.zeros_like(loss)
        skipped = xp.zeros_like(loss) if loss_scale is None else loss_scale.skipped_steps
        values = xp.stack([xp.astype(value, xp.float64) for value in (loss, correct, clipped, skipped)])
        self._values = backend.copy_to_host_async(values)

    def read(self) -> StepValues:
        """The values; waits for the copy to the host.

        Raises NotFinite for a loss that is not finite, and when the loss scale has skipped too many steps.
        """
        loss, correct, clipped, skipped = (float(value) for value in self._values())
        check_loss(loss, self.step)
        if self._loss_scale is not None:
            self._loss_scale.check(int(skipped))
        return StepValues(loss, int(correct), clipped / self._units)


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
