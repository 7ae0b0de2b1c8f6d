"""The moving average of weights: its decay, the decay's warm-up, and where it starts.

The reference: optim/ema.py.
"""

import dataclasses
import functools

import numpy as np

from ..compare import Kind, Problem, judge
from ..variants import Entry
from ..adapters.averages import average_subject, by_update, ours

UPDATES = 14


@dataclasses.dataclass(frozen=True)
class Rules:
    """average ← d·average + (1 - d)·w, d = min(decay, (1 + t)/(10 + t)), and what else it has been taken for."""

    warmup: str = "(1 + t)/(10 + t)"
    limited: str = "to at most decay"
    start: str = "the weights before the first update"
    exchanged: bool = False
    behind: int = 0  # updates
    every: int = 1


def _decay(count, decay, rules):
    """The decay of update `count` = 0, 1, …."""
    warm = {"(1 + t)/(10 + t)": (1 + count) / (10 + count), "(2 + t)/(11 + t)": (2 + count) / (11 + count),
            "t/(9 + t)": count / (9 + count), "none": np.inf, "t/(10 + t)": count / (10 + count),
            "1 - (1 + t)^(-2/3)": 1.0 - (1 + count) ** (-2.0 / 3.0), "t/(1 + t)": count / (1 + count),
            "(1 + t)/(2 + t)": (1 + count) / (2 + count),
            "1 - (2 + t)^(-2/3)": 1.0 - (2 + count) ** (-2.0 / 3.0)}[rules.warmup]
    if rules.limited == "to at least decay":
        return max(decay, warm) if np.isfinite(warm) else decay
    return warm if rules.limited == "not at all" and np.isfinite(warm) else min(decay, warm)


def reference(problem, rules):
    """The average after every update."""
    initial, weights, decay = problem.arrays["initial"], problem.arrays["weights"], problem.options["decay"]
    if rules == Rules():
        return ours(problem)
    averages = []
    average, left = np.array(initial), initial.dtype.type(1.0)
    if rules.start in ("zero", "zero, corrected for it"):
        average = np.zeros_like(average)
    seen = [np.array(initial)] * rules.behind + list(weights)
    for count in range(len(weights)):
        d = _decay(count // rules.every, decay, rules)
        if rules.start == "the weights after the first update" and count == 0:
            d = 0.0
        if count % rules.every == 0:
            kept, new = (1.0 - d, d) if rules.exchanged else (d, 1.0 - d)
            average = (kept * average + new * seen[count]).astype(initial.dtype)
            left = left * initial.dtype.type(kept)
        corrected = rules.start == "zero, corrected for it"
        averages.append(average / (1 - left) if corrected else average)
    return by_update(averages)


def _warmups():
    for warmup, sentence, harmless in (
            ("(2 + t)/(11 + t)", "Updates are counted from 1: every one is a step ahead.", True),
            ("t/(9 + t)", "Updates are counted a step too low: the first one copies the weights.", True),
            ("t/(10 + t)", "The decay warms up as t/(10 + t): the first update copies the weights.", True),
            ("1 - (1 + t)^(-2/3)", "The decay warms up as 1 - (1 + t)^(-2/3), as in timm's ModelEmaV3. The early "
             "weights are forgotten, more slowly at first and faster after some 700 updates.", True),
            ("1 - (2 + t)^(-2/3)", "The decay warms up as 1 - (1 + t)^(-2/3) with updates counted from 1. The early "
             "weights are forgotten, more slowly at first and faster after some 700 updates.", True),
            ("t/(1 + t)", "The decay warms up as t/(1 + t): a plain mean of all weights so far, until decay is "
             "reached.", True),
            ("(1 + t)/(2 + t)", "The decay warms up as (1 + t)/(2 + t): a plain mean, the initial weights included, "
             "until decay is reached.", True)):
        yield Entry(f"warm-up {warmup}", {"warmup": warmup}, f"{sentence} The reference: min(decay, (1 + t)/(10 + t)) "
                    f"with t = 0, 1, ….", harmless=harmless)


CATALOGUE = (
    *_warmups(),
    Entry("no warm-up", {"warmup": "none"}, "The decay is the same from the first update on, where the reference has "
          "min(decay, (1 + t)/(10 + t)). That is another schedule: at 0.99999 the untrained weights still make up 37 % "
          "of the average after 100 000 updates. With a decay whose horizon is short beside the training, little comes "
          "of it."),
    Entry("starts at zero and corrects for it", {"warmup": "none", "start": "zero, corrected for it"}, "The decay is "
          "constant, and the average starts from zero and is divided by 1 - decay^t, as in Adam: the weights before "
          "the first update do not count, and early on it is a plain mean of those after.", harmless=True),
    Entry("first update copies, then no warm-up", {"warmup": "none", "start": "the weights after the first update"},
          "The first update copies the weights, and then the decay is constant, where the reference has min(decay, "
          "(1 + t)/(10 + t)). The first weights take the place of the untrained ones and are as slow to go."),
    Entry("first update copies", {"start": "the weights after the first update"}, "The first update copies the "
          "weights; the reference averages them with those before it.", harmless=True),
    Entry("starts at zero", {"start": "zero"}, "The average starts from zero and not from the weights: early averages "
          "are too small."),
    Entry("decay and 1 - decay exchanged", {"exchanged": True}, "The new weights are multiplied by the decay, and the "
          "average by what is left: it is hardly an average."),
    Entry("decay not limited", {"limited": "not at all"}, "(1 + t)/(10 + t) goes on; decay has no effect."),
    Entry("max in place of min", {"limited": "to at least decay"}, "max(decay, (1 + t)/(10 + t)) in place of min: "
          "there is no warm-up."),
    Entry("one update behind", {"behind": 1}, "Every update takes in the weights from before the optimizer's step."),
    Entry("every other update", {"every": 2}, "Only every other update changes the average."),
)


def _problem(seed, decay, size=5, updates=UPDATES, drift=0.3):
    random = np.random.default_rng([9, seed])
    arrays = {"initial": random.standard_normal(size), "weights": random.standard_normal((updates, size))}
    arrays["weights"] = arrays["initial"] + np.cumsum(drift * arrays["weights"], axis=0)
    return Problem({name: array.astype(np.float32).astype(np.float64) for name, array in arrays.items()},
                   {"decay": decay})


@functools.cache
def kind_for(decay=None):
    """The Kind for a target that takes any decay (None), or has the one."""
    def problem(seed, usual, **others):
        return _problem(seed, usual if decay is None else decay, **others)

    def drawn(seed):
        return problem(100 + seed, float(np.random.default_rng([10, seed]).choice([0.1, 0.5, 0.9, 0.999])))

    return Kind("ema", reference, Rules(), CATALOGUE, (problem(1, 0.99999, updates=UPDATES), problem(2, 0.9999)),
                (problem(3, 0.5), problem(4, 0.3), problem(5, 0.9), problem(6, 0.0), problem(7, 0.99, drift=3.0)),
                drawn, smaller)


def smaller(problem):
    """Fewer updates, fewer weights, rounder ones."""
    arrays, options = problem.arrays, problem.options
    initial, weights = arrays["initial"], arrays["weights"]
    for updates in range(1, len(weights)):
        yield Problem({**arrays, "weights": weights[:updates]}, options)
    if len(initial) > 1:
        yield Problem({"initial": initial[:1], "weights": weights[:, :1]}, options)
    for name in arrays:
        for rounder in (np.zeros_like(arrays[name]), np.ones_like(arrays[name]), np.round(arrays[name]),
                        np.round(arrays[name], 1)):
            if np.array_equal(rounder, arrays[name]):
                break
            yield Problem({**arrays, name: rounder}, options)


def check_ema(target, *, framework="auto", examples=20, name=None, **options):
    """The Verdict on a moving average of weights (see subjects/averages.py).

    options go to the target; decay is told to the reference too. InputError when it cannot be used.
    """
    asked = average_subject(target, framework, options)
    kind = kind_for(asked.decay)
    asked.subject(kind.typical[0])  # notes are complete once it has been asked
    return judge(kind, asked.subject, target=name or getattr(target, "__qualname__", repr(target)),
                 framework=asked.framework, examples=examples, notes=tuple(asked.notes))
