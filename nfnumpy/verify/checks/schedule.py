"""The learning rate over time: linear warm-up, then half a cosine.

The reference: optim/schedules.py, warmup_cosine (2102.06171, section 4).
"""

import dataclasses
import functools
import math

import numpy as np

from ...optim.schedules import warmup_cosine
from ..compare import Kind, Problem, judge
from ..variants import Entry
from ..adapters.schedules import BEYOND, parts, schedule_subject


@dataclasses.dataclass(frozen=True)
class Rules:
    """From 0 to peak in warmup_steps, along half a cosine to 0 at total_steps; and what else it has been taken for."""

    offset: int = 0  # added to the step
    warmup: str = "t/w"
    warmup_from: float = 0.0  # of the peak
    decay: str = "half a cosine"
    decays_over: str = "what follows the warm-up"
    ends_at: float = 0.0  # of the peak, or itself where ends_absolute
    ends_absolute: bool = False
    unit: str = "step"


def _progress(step, warmup, total, rules):
    """How far the decay has come, from 0 to 1."""
    start, length = {"what follows the warm-up": (warmup, total - warmup), "all steps": (0, total),
                     "as many steps again": (warmup, total), "one step less": (warmup, total - warmup - 1),
                     "all steps but one": (0, total - 1),
                     "one step more": (warmup, total - warmup + 1)}[rules.decays_over]
    return (step - start) / max(length, 1)


def _by_rules(step, peak, options, rules):
    """The rate at a step, in units of the peak."""
    warmup, total, per_epoch = options["warmup_steps"], options["total_steps"], options["steps_per_epoch"]
    now = step + rules.offset
    now = now // per_epoch * per_epoch if rules.unit == "epoch" else now
    if now < 0:
        return rules.warmup_from
    warming = {"t/w": now < warmup, "(t + 1)/w": now < warmup, "(t + 1)/(w + 1)": now < warmup,
               "t/(w - 1)": now < warmup, "none": False, "constant": now < warmup, "square": now < warmup,
               "at the peak": now < warmup, "times the decay": False}[rules.warmup]
    if warming:
        share = {"t/w": now / warmup, "(t + 1)/w": (now + 1) / warmup, "(t + 1)/(w + 1)": (now + 1) / (warmup + 1),
                 "t/(w - 1)": now / max(warmup - 1, 1), "constant": 0.0, "square": (now / warmup)**2,
                 "at the peak": 1.0}[rules.warmup]
        return rules.warmup_from + (1.0 - rules.warmup_from) * share
    progress = min(_progress(now, warmup, total, rules), 1.0)
    end = rules.ends_at / peak if rules.ends_absolute else rules.ends_at
    shape = {"half a cosine": lambda: 0.5 * (1.0 + math.cos(math.pi * progress)),
             "straight": lambda: 1.0 - progress,
             "whole cosine": lambda: 0.5 * (1.0 + math.cos(2.0 * math.pi * progress)),
             "quarter of a cosine": lambda: math.cos(0.5 * math.pi * progress),
             "square": lambda: (1.0 - progress)**2,
             "sine": lambda: 1.0 - math.sin(0.5 * math.pi * progress),
             "two cosines": lambda: 0.5 * (1.0 + math.cos(math.pi * (2.0 * progress % 1.0))),
             "none": lambda: 1.0}[rules.decay]()
    rate = end + (1.0 - end) * shape
    return rate * min(1.0, now / warmup) if rules.warmup == "times the decay" and warmup else rate


def reference(problem, rules):
    """The rate at every step that is taken, in parts."""
    peak, options = float(problem.arrays["peak"]), problem.options
    steps = range(options["total_steps"])
    if rules == Rules():
        schedule = warmup_cosine(peak, options["warmup_steps"], options["total_steps"])
        rates = [schedule(step) for step in steps]
    else:
        rates = [peak * _by_rules(step, peak, options, rules) for step in steps]
    return parts(np.array(rates, dtype=problem.arrays["peak"].dtype), options["warmup_steps"],
                 options["total_steps"])


_ENDS = tuple(
    Entry(f"ends at {share:g} of the peak", {"ends_at": share}, f"The cosine ends at {share:g} of the peak "
          f"and not at 0.", harmless=share <= 0.01) for share in (1e-4, 1e-3, 0.01, 0.05, 0.1)) + tuple(
    Entry(f"ends at a rate of {rate:g}", {"ends_at": rate, "ends_absolute": True}, f"The cosine ends at "
          f"a rate of {rate:g} and not at 0.", harmless=True) for rate in (1e-4, 1e-5, 1e-6))

CATALOGUE = (
    Entry("warm-up (t + 1)/w", {"warmup": "(t + 1)/w"}, "The warm-up is one step ahead: it starts at peak/warmup_steps "
          "and not at 0, and reaches the peak a step early.", harmless=True),
    Entry("warm-up (t + 1)/(w + 1)", {"warmup": "(t + 1)/(w + 1)"}, "The warm-up starts at peak/(warmup_steps + 1) and "
          "not at 0.", harmless=True),
    Entry("cosine one step shorter", {"decays_over": "one step less"}, "The cosine reaches its end in the last step "
          "that is taken, total_steps - 1; that step does nothing.", harmless=True),
    Entry("cosine one step longer", {"decays_over": "one step more"}, "The cosine ends a step after total_steps.",
          harmless=True),
    *(Entry(f"warm-up from {share:.3g} of the peak", {"warmup_from": share}, f"The warm-up starts at {share:.3g} of "
            f"the peak and not at 0.", harmless=share <= 0.01)
      for share in (1e-8, 1e-6, 1e-4, 1e-3, 0.01, 0.1, 0.2, 0.25, 1 / 3, 0.5)),
    *_ENDS,
    Entry("one step ahead", {"offset": 1}, "Steps are counted from 1: everything comes a step early.", harmless=True),
    Entry("one step behind", {"offset": -1}, "The rate is that of the step before.", harmless=True),
    Entry("warm-up t/(w - 1)", {"warmup": "t/(w - 1)"}, "The warm-up reaches the peak one step early.", harmless=True),
    Entry("cosine over all steps", {"decays_over": "all steps"}, "The cosine counts from step 0 and not from the end "
          "of the warm-up: the rate drops when it takes over, and the peak is never reached."),
    Entry("cosine over all steps but one", {"decays_over": "all steps but one"}, "The cosine counts from step 0, and "
          "ends at total_steps - 1."),
    Entry("cosine as long as all steps", {"decays_over": "as many steps again"}, "The cosine lasts total_steps after "
          "the warm-up, so that training ends before the rate does. Hand over total_steps - warmup_steps."),
    Entry("warm-up times the decay", {"warmup": "times the decay"}, "During the warm-up the rate is t/w times the "
          "decay's."),
    Entry("no warm-up", {"warmup": "none"}, "There is no warm-up."),
    Entry("peak during the warm-up", {"warmup": "at the peak"}, "The rate is at the peak all through the warm-up."),
    Entry("zero during the warm-up", {"warmup": "constant"}, "The rate does not rise during the warm-up."),
    Entry("quadratic warm-up", {"warmup": "square"}, "The warm-up rises with the square of the step."),
    Entry("straight decay", {"decay": "straight"}, "The decay is a straight line."),
    Entry("whole cosine", {"decay": "whole cosine"}, "The decay is a whole period: it comes back to the peak."),
    Entry("quarter of a cosine", {"decay": "quarter of a cosine"}, "The decay is cos(π/2·progress)."),
    Entry("one minus a sine", {"decay": "sine"}, "The decay is 1 - sin(π/2·progress)."),
    Entry("quadratic decay", {"decay": "square"}, "The decay is (1 - progress)²."),
    Entry("two cycles", {"decay": "two cosines"}, "The cosine starts over halfway."),
    Entry("no decay", {"decay": "none"}, "There is no decay."),
    Entry("in epochs", {"unit": "epoch"}, "The rate changes once an epoch and not every step."),
)


def _problem(peak, warmup_steps, total_steps, steps_per_epoch=5):
    return Problem({"peak": np.asarray(float(peak))}, {"warmup_steps": warmup_steps, "total_steps": total_steps,
                                                       "steps_per_epoch": steps_per_epoch})


@functools.cache
def kind_for(peak=None, warmup_steps=None, total_steps=None):
    """The Kind for a target that takes any peak, warmup_steps and total_steps (None), or has its own."""
    def problem(usual_peak, usual_warmup, usual_total, *others):
        given = [usual if own is None else own for usual, own in (
            (usual_peak, peak), (usual_warmup, warmup_steps), (usual_total, total_steps))]
        return _problem(given[0], min(given[1], given[2]) if warmup_steps is None else given[1], given[2], *others)

    def drawn(seed):
        random = np.random.default_rng([12, seed])
        per_epoch = int(random.integers(2, 6))
        warmup_epochs = int(random.integers(1, 4))
        return problem(float(random.choice([0.1, 0.4, 1.6])), warmup_epochs * per_epoch,
                       (warmup_epochs + int(random.integers(2, 9))) * per_epoch, per_epoch)

    return Kind("schedule", reference, Rules(), CATALOGUE, (problem(0.4, 10, 60), problem(1.6, 5, 100)),
                (problem(0.1, 20, 40), problem(0.1, 4, 12, 2)), drawn, smaller, scales)


def smaller(problem):
    """Fewer steps, a plain peak."""
    arrays, options = problem.arrays, problem.options
    warmup, total = options["warmup_steps"], options["total_steps"]
    if arrays["peak"] != 1.0:
        yield Problem({"peak": np.ones_like(arrays["peak"])}, options)
    for changes in ({"warmup_steps": 1}, {"warmup_steps": 2}, {"warmup_steps": warmup - 1},
                    {"total_steps": warmup + 2}, {"total_steps": total // 2}, {"total_steps": total - 1}):
        candidate = {**options, **changes}
        if 0 < candidate["warmup_steps"] < candidate["total_steps"] and all(
                candidate[name] < options[name] for name in changes):
            yield Problem(arrays, candidate)


def scales(problem):
    """1 + cos cancels near the end."""
    return dict.fromkeys(("rate during warm-up", "rate after warm-up"), float(problem.arrays["peak"]))


def _afterwards(subject, problem):
    """A note on steps that nobody should take."""
    rates = subject(problem).get("rate after the last step", np.zeros(0)) / float(problem.arrays["peak"])
    if len(rates) < BEYOND:
        yield f"it has no rate for step total_steps{f' + {len(rates)}' if len(rates) else ''}"
    elif np.max(np.abs(rates)) > 1e-9:
        shown = ", ".join(f"{rate:.2g}" for rate in rates)
        yield f"from total_steps on, where the reference is 0, it is {shown} of the peak: not judged, because no " \
              f"step is taken there"


def check_schedule(target, *, framework="auto", examples=20, name=None, **options):
    """The Verdict on a learning-rate schedule (see subjects/schedules.py).

    options: peak, warmup_steps, total_steps say what it should be where the target does not take them; all that it
    takes go to it. InputError when it cannot be used.
    """
    asked = schedule_subject(target, framework, options)
    kind = kind_for(asked.peak, asked.warmup_steps, asked.total_steps)
    return judge(kind, asked.subject, target=name or getattr(target, "__qualname__", repr(target)),
                 framework=asked.framework, examples=examples,
                 notes=(*asked.notes, *_afterwards(asked.subject, kind.typical[0])))
