"""The learning rate over time: linear warm-up, then half a cosine.

The reference: optim/schedules.py, warmup_cosine (2102.06171, section 4).
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ...optim.schedules import warmup_cosine
from ..adapters import title_of
from ..adapters.schedule import BEYOND, parts, schedule_adapter
from ..adapters.schedulers import RESTORED, SECOND_GROUP
from ..compare import Check, InputCase, compare
from ..frameworks import tries_frameworks
from ..variants import KnownVariant
from ..verdict import Verdict


def linear_warmup(t: float, w: int) -> float:
    """t/w of the peak at step t of w."""
    return t / w


def after_the_warmup(w: int, total: int) -> tuple[int, int]:
    """(first step, number of steps) of the decay."""
    return w, total - w


def half_a_cosine(progress: float) -> float:
    """From 1 to 0."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def ends_at_zero(peak: float) -> float:
    """The end of the decay, as a share of the peak."""
    return 0.0


def in_proportion(rates: np.ndarray, peak: float) -> np.ndarray:
    """The rates of a second parameter group, in units of its own peak over the first one's."""
    return rates


def starts_at_zero(peak: float) -> float:
    """The start of the warm-up, as a share of the peak."""
    return 0.0


def no_ramp(t: float, w: int) -> float:
    """A factor of the whole rate."""
    return 1.0


@dataclasses.dataclass(frozen=True)
class ScheduleRules:
    """From 0 to the peak in w steps, along half a cosine to 0 at total steps.

    offset: added to the step; warmup(t, w): the share of the peak, or None for none; warmup_from(peak): its start;
    decay(progress): from 1 to 0; span(w, total): (first step, number of steps) of the decay; end(peak): where it ends,
    as a share of the peak; ramp(t, w): a factor of the decay; in_epochs: whether the rate changes once an epoch;
    second_group(rates, peak): those of a second group; forgets: whether state_dict has not the number of steps.
    """

    offset: int = 0
    warmup: Callable[[float, int], float] | None = linear_warmup
    warmup_from: Callable[[float], float] = starts_at_zero
    decay: Callable[[float], float] = half_a_cosine
    span: Callable[[int, int], tuple[int, int]] = after_the_warmup
    end: Callable[[float], float] = ends_at_zero
    ramp: Callable[[float, int], float] = no_ramp
    in_epochs: bool = False
    second_group: Callable[[np.ndarray, float], np.ndarray] = in_proportion
    forgets: bool = False


def _share_of_the_peak(step, peak, options, rules):
    """The rate at a step, in units of the peak."""
    w, total = options["warmup_steps"], options["total_steps"]
    now, first = step + rules.offset, rules.warmup_from(peak)
    if rules.in_epochs:
        now = now // options["steps_per_epoch"] * options["steps_per_epoch"]
    if now < 0:
        return first
    if rules.warmup is not None and now < w:
        return first + (1.0 - first) * rules.warmup(now, w)
    start, length = rules.span(w, total)
    progress = min((now - start) / max(length, 1), 1.0)
    end = rules.end(peak)
    return (end + (1.0 - end) * rules.decay(progress)) * rules.ramp(now, w)


def reference(case: InputCase, rules: ScheduleRules) -> Mapping[str, np.ndarray]:
    """The rate at every step of the training, in parts."""
    peak, options = float(case.arrays["peak"]), case.options
    warmup, total = options["warmup_steps"], options["total_steps"]
    if dataclasses.replace(rules, second_group=in_proportion, forgets=False) == ScheduleRules():
        schedule = warmup_cosine(peak, warmup, total)
        rates = [schedule(step) for step in range(total)]
    else:
        rates = [peak * _share_of_the_peak(step, peak, options, rules) for step in range(total)]
    found = np.array(rates, dtype=case.arrays["peak"].dtype)
    half = total // 2
    restored = found[1:total - half + 1] if rules.forgets else found[half:]
    return {**parts(found, warmup, total), SECOND_GROUP: rules.second_group(found, found.dtype.type(peak)),
            RESTORED: restored}


def _share(share):
    return lambda peak: share


def _rate(rate):
    return lambda peak: rate / peak


_ENDS = tuple(
    KnownVariant(f"ends at {share:g} of the peak", {"end": _share(share)}, f"The cosine ends at {share:g} of the peak "
                 "and not at 0.", benign=share <= 0.01) for share in (1e-4, 1e-3, 0.01, 0.05, 0.1)) + tuple(
    KnownVariant(f"ends at a rate of {rate:g}", {"end": _rate(rate)}, f"The cosine ends at a rate of {rate:g} and not "
                 "at 0.", benign=True) for rate in (1e-4, 1e-5, 1e-6))

CATALOGUE = (
    KnownVariant("warm-up (t + 1)/w", {"warmup": lambda t, w: (t + 1) / w}, "The warm-up is one step ahead: it starts "
                 "at peak/warmup_steps and not at 0, and reaches the peak a step early.", benign=True),
    KnownVariant("warm-up (t + 1)/(w + 1)", {"warmup": lambda t, w: (t + 1) / (w + 1)}, "The warm-up starts at "
                 "peak/(warmup_steps + 1) and not at 0.", benign=True),
    KnownVariant("cosine one step shorter", {"span": lambda w, total: (w, total - w - 1)}, "The cosine reaches its end "
                 "in the last step that is taken, total_steps - 1; that step does nothing.", benign=True),
    KnownVariant("cosine one step longer", {"span": lambda w, total: (w, total - w + 1)}, "The cosine ends a step "
                 "after total_steps.", benign=True),
    *(KnownVariant(f"warm-up from {share:.3g} of the peak", {"warmup_from": _share(share)}, "The warm-up starts at "
                   f"{share:.3g} of the peak and not at 0.", benign=share <= 0.01)
      for share in (1e-8, 1e-6, 1e-4, 1e-3, 0.01, 0.1, 0.2, 0.25, 1 / 3, 0.5)),
    *(KnownVariant(f"warm-up from a rate of {rate:g}", {"warmup_from": _rate(rate)}, f"The warm-up starts at a rate of "
                   f"{rate:g} and not at 0.", benign=True) for rate in (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)),
    *_ENDS,
    KnownVariant("one step ahead", {"offset": 1}, "Steps are counted from 1: everything comes a step "
                 "early.", benign=True),
    KnownVariant("one step behind", {"offset": -1}, "The rate is that of the step before.", benign=True),
    KnownVariant("warm-up t/(w - 1)", {"warmup": lambda t, w: t / max(w - 1, 1)}, "The warm-up reaches the peak one "
                 "step early.", benign=True),
    KnownVariant("cosine over all steps", {"span": lambda w, total: (0, total)}, "The cosine counts from step 0 and "
                 "not from the end of the warm-up: the rate drops when it takes over, and the peak is never reached."),
    KnownVariant("cosine over all steps but one", {"span": lambda w, total: (0, total - 1)}, "The cosine counts from "
                 "step 0, and ends at total_steps - 1."),
    KnownVariant("cosine as long as all steps", {"span": lambda w, total: (w, total)}, "The cosine lasts total_steps "
                 "after the warm-up, so that training ends before the rate does. Hand over total_steps - "
                 "warmup_steps."),
    KnownVariant("warm-up times the decay", {"warmup": None, "ramp": lambda t, w: min(1.0, t / w) if w else 1.0},
                 "During the warm-up the rate is t/w times the decay's."),
    KnownVariant("no warm-up", {"warmup": None}, "There is no warm-up."),
    KnownVariant("peak during the warm-up", {"warmup": lambda t, w: 1.0}, "The rate is at the peak all through the "
                 "warm-up."),
    KnownVariant("always the peak", {"warmup": None, "decay": lambda progress: 1.0}, "The rate is at the peak in every "
                 "step: there is neither a warm-up nor a decay."),
    KnownVariant("zero during the warm-up", {"warmup": lambda t, w: 0.0}, "The rate does not rise during the warm-up."),
    KnownVariant("quadratic warm-up", {"warmup": lambda t, w: (t / w)**2}, "The warm-up rises with the square of the "
                 "step."),
    KnownVariant("straight decay", {"decay": lambda progress: 1.0 - progress}, "The decay is a straight line."),
    KnownVariant("whole cosine", {"decay": lambda progress: half_a_cosine(2.0 * progress)}, "The decay is a whole "
                 "period: it comes back to the peak."),
    KnownVariant("quarter of a cosine", {"decay": lambda progress: math.cos(0.5 * math.pi * progress)}, "The decay is "
                 "cos(π/2·progress)."),
    KnownVariant("one minus a sine", {"decay": lambda progress: 1.0 - math.sin(0.5 * math.pi * progress)}, "The decay "
                 "is 1 - sin(π/2·progress)."),
    KnownVariant("quadratic decay", {"decay": lambda progress: (1.0 - progress)**2}, "The decay is (1 - progress)²."),
    KnownVariant("two cycles", {"decay": lambda progress: half_a_cosine(2.0 * progress % 1.0)}, "The cosine starts "
                 "over halfway."),
    KnownVariant("no decay", {"decay": lambda progress: 1.0}, "There is no decay."),
    KnownVariant("all groups get the first one's rate", {"second_group": lambda rates, peak: 2.0 * rates}, "All "
                 "parameter groups get the rate of the first one, where each should keep its own peak."),
    KnownVariant("the first group alone", {"second_group": lambda rates, peak: np.full_like(rates, peak)}, "Only the "
                 "first parameter group's rate changes; the others stay at their peaks."),
    KnownVariant("step count lost with state_dict", {"forgets": True}, "After state_dict and load_state_dict the "
                 "schedule starts over."),
    KnownVariant("in epochs", {"in_epochs": True}, "The rate changes once an epoch and not every step."),
)


def _case(peak, warmup_steps, total_steps, steps_per_epoch=5):
    return InputCase({"peak": np.asarray(float(peak))}, {"warmup_steps": warmup_steps, "total_steps": total_steps,
                                                       "steps_per_epoch": steps_per_epoch})


@functools.cache
def check_for(peak: float | None = None, warmup_steps: int | None = None, total_steps: int | None = None) -> Check:
    """The Check of a target that takes any peak, warmup_steps and total_steps (None), or has its own."""
    def case(usual_peak, usual_warmup, usual_total, *others):
        total = usual_total if total_steps is None else total_steps
        warmup = min(usual_warmup, total) if warmup_steps is None else warmup_steps
        return _case(usual_peak if peak is None else peak, warmup, total, *others)

    @functools.lru_cache(maxsize=64)
    def drawn(seed):
        random = np.random.default_rng([12, seed])
        per_epoch = int(random.integers(2, 6))
        warmup_epochs = int(random.integers(1, 4))
        return case(float(random.choice([0.1, 0.4, 1.6])), warmup_epochs * per_epoch,
                    (warmup_epochs + int(random.integers(2, 9))) * per_epoch, per_epoch)

    return Check("schedule", reference, ScheduleRules(), CATALOGUE, (case(0.4, 10, 60), case(1.6, 5, 100)),
                 (case(0.1, 20, 40), case(0.1, 4, 12, 2)), drawn, smaller, scales)


def smaller(case: InputCase) -> Iterator[InputCase]:
    """Fewer steps, a plain peak."""
    arrays, options = case.arrays, case.options
    warmup, total = options["warmup_steps"], options["total_steps"]
    if arrays["peak"] != 1.0:
        yield InputCase({"peak": np.ones_like(arrays["peak"])}, options)
    for changes in ({"warmup_steps": 1}, {"warmup_steps": 2}, {"warmup_steps": warmup - 1},
                    {"total_steps": warmup + 2}, {"total_steps": total // 2}, {"total_steps": total - 1}):
        candidate = {**options, **changes}
        if 0 < candidate["warmup_steps"] < candidate["total_steps"] and all(
                candidate[name] < options[name] for name in changes):
            yield InputCase(arrays, candidate)


def scales(case: InputCase) -> Mapping[str, float]:
    """1 + cos cancels near the end."""
    return dict.fromkeys(("rate during warm-up", "rate after warm-up", SECOND_GROUP, RESTORED),
                         float(case.arrays["peak"]))


def _after_the_last_step(run, case):
    """A note on the rates of steps after the training."""
    rates = run(case).get("rate after the last step", np.zeros(0)) / float(case.arrays["peak"])
    if len(rates) < BEYOND:
        yield f"it has no rate for step total_steps{f' + {len(rates)}' if len(rates) else ''}"
    elif np.max(np.abs(rates)) > 1e-9:
        shown = ", ".join(f"{rate:.2g}" for rate in rates)
        yield f"from total_steps on, where the reference is 0, it is {shown} of the peak: not compared, because no " \
              f"step is taken there"


@tries_frameworks
def check_schedule(target: Any, *, framework: str = "auto", examples: int = 20, name: str | None = None,
                   **options: Any) -> Verdict:
    """The Verdict on a learning-rate schedule (see adapters/schedule.py).

    options: peak, warmup_steps, total_steps say what it should be where the target does not take them; all that it
    takes go to it. InputError when it cannot be used.
    """
    adapter = schedule_adapter(target, framework, options)
    check = check_for(**adapter.fixed)
    notes = (*adapter.notes, *_after_the_last_step(adapter.run, check.typical[0]))
    return compare(check, adapter.run, target=name or title_of(target), framework=adapter.framework, examples=examples,
                   notes=notes)
