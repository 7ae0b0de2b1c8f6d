"""Notices from the losses of the steps that a training goes astray.

Measured against log(classes), the loss of a network that knows nothing, and in means over the last WINDOW steps:

* it explodes: the loss of a step is above EXPLODED times log(classes);
* it rises: the mean is above its least value so far by more than RISEN times log(classes);
* it does not fall: the mean is not below STILL times log(classes), an epoch and two windows after the warm-up.

Used by: training/epochs.py. Test: reference_tests/training/test_divergence.py.
"""

import math
from collections import deque

WINDOW = 50  # steps
EXPLODED = 8.0
RISEN = 0.5
STILL = 0.98


class LossWatch:
    """Sees the losses of a run's steps in order, from wherever it was resumed; speaks once."""

    def __init__(self, classes: int, warmup_steps: int, steps_per_epoch: int) -> None:
        self._of_chance = math.log(classes)
        self._learns_by = warmup_steps + max(steps_per_epoch, 2 * WINDOW)
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._least = math.inf  # of the means
        self._has_spoken = False

    def see(self, step: int, loss: float) -> str | None:
        """What is wrong after `step` steps, the last of them with this loss; None as long as nothing is, and later."""
        self._recent.append(loss)
        if self._has_spoken:
            return None
        found = self._sign(step)
        self._has_spoken = found is not None
        return found

    def _sign(self, step: int) -> str | None:
        """The sign of the three that the losses show now."""
        chance = f"the {self._of_chance:.2f} of a network that knows nothing"
        if self._recent[-1] > EXPLODED * self._of_chance:
            return f"the loss explodes: {self._recent[-1]:.3g} at step {step}, beside {chance}"
        if len(self._recent) < WINDOW:
            return None
        mean = sum(self._recent) / WINDOW
        self._least = min(self._least, mean)
        if mean > self._least + RISEN * self._of_chance:
            return f"the loss rises: {mean:.3g} in the {WINDOW} steps up to {step}, after {self._least:.3g}"
        if step >= self._learns_by and mean >= STILL * self._of_chance:
            return f"the loss does not fall: {mean:.3g} in the {WINDOW} steps up to {step}, beside {chance}"
        return None


def remedies(lr: float, agc: float | None) -> str:
    """What usually helps, as a part of a line."""
    return (f"what usually helps is another --lr than {lr:g} (--find-lr suggests one; lower where the loss rises), "
            f"{more_clipping(agc)}, or a longer warm-up; the run goes on")


def more_clipping(agc: float | None) -> str:
    """The option that clips more than `agc` does."""
    return "--agc 0.01" if agc is None else f"a lower --agc than {agc:g}"
