"""Learning rates over time: functions of the step (counted from 0) that return a number.

Source of warm-up and cosine as used here: Brock et al. (2021b), section 4; Loshchilov, Hutter (2017), eq. 5.
"""

import math

from ..errors import InputError


def constant(peak):
    """Always `peak`."""
    return lambda step: peak


def cosine(peak, total_steps):
    """From `peak` at step 0 along half a cosine to 0 at `total_steps`."""
    return warmup_cosine(peak, 0, total_steps)


def warmup_cosine(peak, warmup_steps, total_steps):
    """Linearly from 0 to `peak` in `warmup_steps`, then along half a cosine to 0 at `total_steps`."""
    if not 0 <= warmup_steps <= total_steps:
        raise InputError(f"warmup_cosine: warmup_steps={warmup_steps} and total_steps={total_steps}: expected "
                         f"0 ≤ warmup_steps ≤ total_steps")

    def rate(step):
        if step >= total_steps:
            return 0.0
        if step < warmup_steps:
            return peak * step / warmup_steps
        return peak * 0.5 * (1.0 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps)))
    return rate


def step_decay(peak, warmup_steps, factor, interval):
    """Linearly from 0 to `peak` in `warmup_steps`, then multiplied by `factor` after every `interval` steps."""
    if interval < 1 or not 0.0 < factor <= 1.0:
        raise InputError(f"step_decay: factor={factor!r}, interval={interval!r}: expected 0 < factor ≤ 1 and at "
                         f"least one step")

    def rate(step):
        if step < warmup_steps:
            return peak * step / warmup_steps
        return peak * factor ** ((step - warmup_steps) // interval)
    return rate
