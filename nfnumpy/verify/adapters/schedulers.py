"""Schedulers of optimizers: objects whose `step` sets the rate, and functions that set it for a step.

Beside the rate of every step they are asked for that of a second parameter group, whose peak is half of the first
one's, and for the rates of a new scheduler that got the state of one in the middle of the training.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..frameworks import Framework
from .guarded_call import guarded

SECOND_GROUP = "rate of a second parameter group, in units of the first one's"
RESTORED = "rate after state_dict there and back"
SHARE = 0.5  # of the first group's peak


class Scheduled:
    """optimizer, step: the target's names of these, step None for what makes a scheduler; settings: its keywords;
    has_own_peak: whether a peak is among them.
    """

    def __init__(self, target: Callable, framework: Framework, optimizer: str, step: str | None,
                 settings: Mapping[str, Any], has_own_peak: bool):
        self.target, self.framework, self.optimizer_name, self.step_name = target, framework, optimizer, step
        self.settings, self.has_own_peak = settings, has_own_peak

    def rate_of(self, peak: float) -> Callable[[int], float]:
        """The function step -> the rate of the only group, to be called for 0, 1, 2, …."""
        optimizer = self._optimizer(peak)
        advance = self._advancing(optimizer)

        def rate_of(step):
            advance(step)
            return optimizer.param_groups[0]["lr"]
        return rate_of

    def further(self, peak: float, total: int) -> dict[str, np.ndarray]:
        """The rates of a second group, and those after half of the training with a restored scheduler."""
        further = {}
        if not self.has_own_peak:
            further[SECOND_GROUP] = self._of_a_second_group(peak, total)
        if self.step_name is None and hasattr(self._made(self._optimizer(peak)), "load_state_dict"):
            further[RESTORED] = guarded("schedule", self._restored, peak, total)
        return further

    def _optimizer(self, *peaks):
        zero = self.framework.array(np.zeros(1))
        groups = [{"params": [self.framework.parameter(zero)], "lr": peak} for peak in peaks]
        return self.framework.sgd(groups, lr=peaks[0])

    def _made(self, optimizer):
        return self.target(**{self.optimizer_name: optimizer}, **self.settings)

    def _advancing(self, optimizer):
        """A function that brings the optimizer to a step: the next one."""
        if self.step_name is not None:
            return lambda step: self.target(**{self.optimizer_name: optimizer, self.step_name: step}, **self.settings)
        return self._stepping(optimizer, self._made(optimizer))

    def _stepping(self, optimizer, scheduler):
        def advance(step):
            if hasattr(scheduler, "step_update"):
                scheduler.step_update(step)
            elif step:
                optimizer.step()
                scheduler.step()
        return advance

    def _of_a_second_group(self, peak, total):
        optimizer, rates = self._optimizer(peak, SHARE * peak), []
        advance = self._advancing(optimizer)
        for step in range(total):
            advance(step)
            rates.append(optimizer.param_groups[1]["lr"] / SHARE)
        return np.array(rates)

    def _restored(self, peak, total):
        old, new, rates = self._optimizer(peak), self._optimizer(peak), []
        before = self._made(old)
        advance = self._stepping(old, before)
        for step in range(total // 2):
            advance(step)
        after = self._made(new)
        new.load_state_dict(old.state_dict())
        after.load_state_dict(before.state_dict())
        advance = self._stepping(new, after)
        for step in range(total // 2, total):
            advance(step)
            rates.append(new.param_groups[0]["lr"])
        return np.array(rates)
