"""Learning rates over time: functions of the step, counted from 0, that return a number.

Source of warm-up and cosine as used here: Brock et al. (2021b), section 4; Loshchilov, Hutter (2017), eq. 5. Of the
exponential decay: the released code of Tan, Le (2019), arXiv 1905.11946. Of the decay in steps: He et al. (2016), arXiv
1512.03385, section 3.4, with the warm-up of Goyal et al. (2017), arXiv 1706.02677, section 2.2.

A step may be fractional, and may lie beyond the end, where `warmup_cosine` and `cosine` stay at 0. A step that is
negative or not finite is an InputError.

Used by: training/optimizers.py. Test: reference_tests/optim/test_schedules.py.
"""

import math
from collections.abc import Callable, Iterable

from ..errors import InputError
from ..functional.checks import shown
from .checks import is_finite_number

Schedule = Callable[[float], float]


def constant(peak: float) -> Schedule:
    """Always `peak`."""
    _check("constant", peak=peak)
    return _checked("constant", lambda step: peak)


def cosine(peak: float, total_steps: float) -> Schedule:
    """From `peak` at step 0 along half a cosine to 0 at `total_steps`."""
    _check("cosine", peak=peak, total_steps=total_steps)
    return warmup_cosine(peak, 0, total_steps)


def warmup_cosine(peak: float, warmup_steps: float, total_steps: float) -> Schedule:
    """Linearly from 0 to `peak` in `warmup_steps`, then along half a cosine to 0 at `total_steps`."""
    _check("warmup_cosine", peak=peak, warmup_steps=warmup_steps, total_steps=total_steps)
    if warmup_steps > total_steps:
        raise InputError(f"warmup_cosine: warmup_steps={warmup_steps} and total_steps={total_steps}: expected "
                         f"0 ≤ warmup_steps ≤ total_steps")

    def rate(step):
        if step >= total_steps:
            return 0.0
        if step < warmup_steps:
            return peak * step / warmup_steps
        return peak * 0.5 * (1.0 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps)))
    return _checked("warmup_cosine", rate)


def exponential_decay(peak: float, warmup_steps: float, factor: float, interval: float) -> Schedule:
    """Linearly from 0 to `peak` in `warmup_steps`; from there on peak·factor^⌊step/interval⌋, counted from step 0.

    interval: a number of steps, at least one, which may be fractional. At the end of the warm-up the rate is that of a
    run without one, so it does not stay at the peak.
    """
    _check("exponential_decay", peak=peak, warmup_steps=warmup_steps, factor=factor, interval=interval)
    _check_factor("exponential_decay", factor)
    if interval < 1:
        raise InputError(f"exponential_decay: interval={interval!r}: expected at least one step")

    def rate(step):
        return peak * step / warmup_steps if step < warmup_steps else peak * factor ** (step // interval)
    return _checked("exponential_decay", rate)


def step_decay(peak: float, warmup_steps: float, factor: float, milestones: Iterable[float]) -> Schedule:
    """Linearly from 0 to `peak` in `warmup_steps`; from there on peak·factor^(milestones reached).

    milestones: steps, each of which is reached when the step is not below it.
    """
    _check("step_decay", peak=peak, warmup_steps=warmup_steps, factor=factor)
    _check_factor("step_decay", factor)
    if isinstance(milestones, str) or not isinstance(milestones, Iterable):
        raise InputError(f"step_decay: milestones={shown(milestones)}: expected a list of steps")
    reached = list(milestones)
    _check("step_decay", **{f"milestones[{k}]": step for k, step in enumerate(reached)})

    def rate(step):
        if step < warmup_steps:
            return peak * step / warmup_steps
        return peak * factor ** sum(step >= milestone for milestone in reached)
    return _checked("step_decay", rate)


def _check_factor(schedule, factor):
    """InputError unless the rate falls by `factor` or stays."""
    if not 0.0 < factor <= 1.0:
        raise InputError(f"{schedule}: factor={factor!r}: expected a number above 0 and up to 1")


def _check(schedule, **values):
    """InputError unless all values are finite numbers that are not negative."""
    for name, value in values.items():
        if not _is_valid(value):
            raise InputError(f"{schedule}: {name}={shown(value)}: expected a finite number that is not negative")


def _is_valid(value):
    return is_finite_number(value) and value >= 0.0


def _checked(schedule, rate):
    """`rate` with its argument checked."""
    def checked(step: float) -> float:
        if not _is_valid(step):
            raise InputError(f"{schedule}: step {shown(step)}: expected a finite number that is not negative")
        return rate(step)
    return checked
