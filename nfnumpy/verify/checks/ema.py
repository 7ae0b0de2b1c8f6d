"""The moving average of weights: its decay, the decay's warm-up, and where it starts.

The reference: optim/ema.py.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..adapters import asked_uses, title_of
from ..adapters.ema import average_adapter, reference_averages
from ..adapters.ema_classes import APPLIED, RESTORED_AFTER, SUFFIXES, TAKEN_BACK, WATCHED, by_update, parts_of
from ..compare import Check, InputCase, compare
from ..frameworks import tries_frameworks
from ..tolerance import UNKNOWN
from ..variants import KnownVariant
from ..verdict import Verdict

UPDATES = 14


def warmed_up(t: int) -> float:
    """The decay of the first updates, t = 0, 1, …."""
    return (1 + t) / (10 + t)


def the_weights(weights: np.ndarray, average: np.ndarray) -> np.ndarray:
    """The model's own weights."""
    return weights


@dataclasses.dataclass(frozen=True)
class AverageRules:
    """average ← d·average + (1 - d)·w, d = min(decay, (1 + t)/(10 + t)).

    warmup(t): the decay of the first updates, or infinity; limited(decay, warm-up): d; from_zero: the start; copies:
    whether the first update copies the weights; corrected: divided by what is missing from zero; exchanged: d and
    1 - d change places; behind: the weights of so many updates ago; every: only every so many updates; averaged(name):
    which parameters are averaged, where the others are copied or, with `others_stay`, left as they were; forgets: what
    is lost with state_dict, "" or "count" or "all"; used_up: whether a generator of parameters is used up;
    watched_stay: whether an update leaves the watched weights as they are; takes_back(weights, average): what the model
    has after an average that was applied to it was taken back.
    """

    warmup: Callable[[int], float] = warmed_up
    limited: Callable[[float, float], float] = min
    from_zero: bool = False
    copies: bool = False
    corrected: bool = False
    exchanged: bool = False
    behind: int = 0
    every: int = 1
    averaged: Callable[[str], bool] | None = None
    others_stay: bool = False
    forgets: str = ""
    used_up: bool = False
    watched_stay: bool = True
    takes_back: Callable[[np.ndarray, np.ndarray], np.ndarray] = the_weights


def reference(case: InputCase, rules: AverageRules) -> Mapping[str, np.ndarray]:
    """The average after every update, and the watched weights."""
    use = case.options["use"]
    averages = _averages(case, rules)
    if use == "plain":
        return {**by_update(averages), WATCHED: case.arrays["weights"][-1] if rules.watched_stay else UNKNOWN}
    if use == "applied":
        weights = case.arrays["weights"][-1]
        return {APPLIED: averages[-1], TAKEN_BACK: rules.takes_back(weights, averages[-1])}
    if use == "generator" and rules.used_up:
        averages = [case.arrays["initial"]] * len(averages)
    return by_update(averages, SUFFIXES[use])


def _averages(case, rules):
    if dataclasses.replace(rules, used_up=False, watched_stay=True, takes_back=the_weights) == AverageRules():
        return reference_averages(case)
    initial, weights = case.arrays["initial"], case.arrays["weights"]
    average, missing, count = _start(initial, rules)
    averages, seen = [], [np.array(initial)] * rules.behind + list(weights)
    for update in range(len(weights)):
        if case.options["use"] == "restored" and update == RESTORED_AFTER - 1 and rules.forgets:
            count = 0
            average = np.array(weights[update]) if rules.forgets == "all" else average
        if count % rules.every == 0:
            d = 0.0 if rules.copies and count == 0 else rules.limited(case.options["decay"],
                                                                      rules.warmup(count // rules.every))
            kept, new = (1.0 - d, d) if rules.exchanged else (d, 1.0 - d)
            average = (kept * average + new * seen[update]).astype(initial.dtype)
            missing = missing * initial.dtype.type(kept)
        averages.append(_in_parts(average / (1 - missing) if rules.corrected else average, initial, weights[update],
                                  rules))
        count += 1
    return averages


def _start(initial, rules):
    """(average, what is missing from zero, updates)."""
    return np.zeros_like(initial) if rules.from_zero else np.array(initial), initial.dtype.type(1.0), 0


def _in_parts(average, initial, weights, rules):
    """The average of the parameters that are averaged, and what the others are."""
    if rules.averaged is None:
        return average
    names = np.concatenate([[name] * part.size for name, part in parts_of(average).items()])
    chosen = np.array([rules.averaged(name) for name in names])
    return np.where(chosen, average, initial if rules.others_stay else weights)


def _is_weight(name):
    return "weight" in name


def _is_kernel(name):
    """A weight of several axes."""
    return name == "conv.weight"


WARMUPS = {  # name: (decay of update t, what it is)
    "(2 + t)/(11 + t)": (lambda t: (2 + t) / (11 + t), "Updates are counted from 1: every one is a step ahead."),
    "t/(9 + t)": (lambda t: t / (9 + t), "Updates are counted a step too low: the first one copies the weights."),
    "t/(10 + t)": (lambda t: t / (10 + t), "The decay warms up as t/(10 + t): the first update copies the weights."),
    "1 - (1 + t)^(-2/3)": (
        lambda t: 1.0 - (1 + t) ** (-2.0 / 3.0), "The decay warms up as 1 - (1 + t)^(-2/3), as in timm's ModelEmaV3. "
        "The early weights are forgotten, more slowly at first and faster after some 700 updates."),
    "1 - (2 + t)^(-2/3)": (
        lambda t: 1.0 - (2 + t) ** (-2.0 / 3.0), "The decay warms up as 1 - (1 + t)^(-2/3) with updates counted from "
        "1. The early weights are forgotten, more slowly at first and faster after some 700 updates."),
    "t/(1 + t)": (lambda t: t / (1 + t), "The decay warms up as t/(1 + t): a plain mean of all weights so far, until "
                  "decay is reached."),
    "(1 + t)/(2 + t)": (lambda t: (1 + t) / (2 + t), "The decay warms up as (1 + t)/(2 + t): a plain mean, the initial "
                        "weights included, until decay is reached.")}


def _warmups():
    for name, (warmup, sentence) in WARMUPS.items():
        yield KnownVariant(f"warm-up {name}", {"warmup": warmup}, f"{sentence} The reference: min(decay, (1 + t)/(10 + "
                           "t)) with t = 0, 1, ….", benign=True)


def _no_warmup(t):
    return math.inf


CATALOGUE = (
    *_warmups(),
    KnownVariant("no warm-up", {"warmup": _no_warmup}, "The decay is the same from the first update on, where the "
                 "reference has min(decay, (1 + t)/(10 + t)). That is another schedule: at 0.99999 the untrained "
                 "weights still make up 37 % of the average after 100 000 updates. With a decay whose horizon is short "
                 "beside the training, little comes of it."),
    KnownVariant("starts at zero and corrects for it", {"warmup": _no_warmup, "from_zero": True, "corrected": True},
                 "The decay is constant, and the average starts from zero and is divided by 1 - decay^t, as in Adam: "
                 "the weights before the first update do not count, and early on it is a plain mean of those "
                 "after.", benign=True),
    KnownVariant("first update copies, then no warm-up", {"warmup": _no_warmup, "copies": True}, "The first update "
                 "copies the weights, and then the decay is constant, where the reference has min(decay, (1 + t)/(10 + "
                 "t)). The first weights take the place of the untrained ones and are as slow to go."),
    KnownVariant("first update copies", {"copies": True}, "The first update copies the weights; the reference averages "
                 "them with those before it.", benign=True),
    KnownVariant("starts at zero", {"from_zero": True}, "The average starts from zero and not from the weights: early "
                 "averages are too small."),
    KnownVariant("decay and 1 - decay exchanged", {"exchanged": True}, "The new weights are multiplied by the decay, "
                 "and the average by what is left: it is hardly an average."),
    KnownVariant("decay not limited", {"limited": lambda decay, warmup: warmup if math.isfinite(warmup) else decay},
                 "(1 + t)/(10 + t) goes on; decay has no effect."),
    KnownVariant("max in place of min",
                 {"limited": lambda decay, warmup: max(decay, warmup) if math.isfinite(warmup) else decay},
                 "max(decay, (1 + t)/(10 + t)) in place of min: there is no warm-up."),
    KnownVariant("one update behind", {"behind": 1}, "Every update takes in the weights from before the optimizer's "
                 "step."),
    KnownVariant("every other update", {"every": 2}, "Only every other update changes the average."),
    KnownVariant("every tenth update copies", {"every": 10, "limited": lambda decay, warmup: 0.0}, "Of the first "
                 "updates only every tenth changes the average, and copies the weights: it is updated every tenth "
                 "time, and begins to average later."),
    KnownVariant("never updated", {"limited": lambda decay, warmup: 1.0}, "The average stays as it started: updates "
                 "have no effect."),
    KnownVariant("the weights themselves", {"limited": lambda decay, warmup: 0.0}, "The average is always the newest "
                 "weights: it shares their memory, or nothing is averaged."),
    *(KnownVariant(f"{which} alone averaged, the others {what}", {"averaged": rule, "others_stay": stay}, f"Only "
                   f"{whose} are averaged; the others {sentence}.")
      for which, rule, whose in (("weights", _is_weight, "parameters with \"weight\" in their names"),
                                 ("kernels", _is_kernel, "parameters of several axes"))
      for what, stay, sentence in (("copied", False, "are copied from the model"),
                                   ("left", True, "stay as they started"))),
    KnownVariant("watched weights changed by the update", {"watched_stay": False}, "The update changes the model's own "
                 "weights.", is_open=True),
)
USES = (
    KnownVariant("parameters given by a generator are used up", {"used_up": True}, "A generator, such as "
                 "model.parameters(), is empty after its first use, and then nothing is averaged: keep "
                 "list(parameters)."),
    KnownVariant("warm-up starts over after state_dict", {"forgets": "count"}, "state_dict has not the number of "
                 "updates: after load_state_dict the decay warms up again, and much of the average is forgotten."),
    KnownVariant("average kept in the model", {"takes_back": lambda weights, average: average}, "What was kept of the "
                 "model's weights while the average was applied shares their memory: after they are taken back, the "
                 "model still has the average."),
    KnownVariant("average lost with state_dict", {"forgets": "all"}, "After load_state_dict the average starts from "
                 "the weights."),
)


def _case(seed, decay, size=5, updates=UPDATES, drift=0.3, use="plain"):
    random = np.random.default_rng([9, seed])
    arrays = {"initial": random.standard_normal(size), "weights": random.standard_normal((updates, size))}
    arrays["weights"] = arrays["initial"] + np.cumsum(drift * arrays["weights"], axis=0)
    return InputCase({name: array.astype(np.float32).astype(np.float64) for name, array in arrays.items()},
                   {"decay": decay, "use": use})


@functools.cache
def check_for(decay: float | None = None, uses: tuple[str, ...] = ()) -> Check:
    """The Check of a target that takes any decay (None), or has the one; uses: how else it is used."""
    def case(seed, usual, **others):
        return _case(seed, usual if decay is None else decay, **others)

    @functools.lru_cache(maxsize=64)
    def drawn(seed):
        return case(100 + seed, float(np.random.default_rng([10, seed]).choice([0.1, 0.5, 0.9, 0.999])))

    typical = (case(1, 0.99999), case(2, 0.9999))
    edges = (case(3, 0.5), case(4, 0.3), case(5, 0.9), case(6, 0.0), case(7, 0.99, drift=3.0),
             *(case(20 + k, 0.9, use=use) for k, use in enumerate(uses)))
    catalogue = (*CATALOGUE, *USES) if uses else CATALOGUE
    return Check("ema", reference, AverageRules(), catalogue, typical, edges, drawn, smaller)


def smaller(case: InputCase) -> Iterator[InputCase]:
    """Fewer updates, fewer weights, rounder ones."""
    arrays, options = case.arrays, case.options
    initial, weights = arrays["initial"], arrays["weights"]
    for updates in range(1, len(weights)):
        yield InputCase({**arrays, "weights": weights[:updates]}, options)
    if len(initial) > 1:
        yield InputCase({"initial": initial[:1], "weights": weights[:, :1]}, options)
    for name in arrays:
        for rounder in (np.zeros_like(arrays[name]), np.ones_like(arrays[name]), np.round(arrays[name]),
                        np.round(arrays[name], 1)):
            if np.array_equal(rounder, arrays[name]):
                break
            yield InputCase({**arrays, name: rounder}, options)


@tries_frameworks
def check_ema(target: Any, *, framework: str = "auto", examples: int = 20, name: str | None = None,
              **options: Any) -> Verdict:
    """The Verdict on a moving average of weights (see adapters/ema.py).

    options go to the target; decay is the reference's too. InputError when it cannot be used.
    """
    adapter = average_adapter(target, framework, options)
    uses, notes = asked_uses(adapter, SUFFIXES, lambda use: check_for(**adapter.fixed, uses=(use,)).edges[-1])
    return compare(check_for(**adapter.fixed, uses=uses), adapter.run, target=name or title_of(target),
                   framework=adapter.framework, examples=examples, notes=(*adapter.notes, *notes))
