"""Stochastic depth, compared statistically: by its effect on many examples.

The reference: functional/dropout.py and nn/layers.py (1603.09382; that nothing is divided by the keep probability is
the default of the authors' released NFNet code).
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import tolerance
from ..adapters import title_of
from ..adapters.stochastic_depth import stochastic_depth_adapter
from ..diagnosis import named
from ..frameworks import tries_frameworks
from ..search import Group, without_conflict
from ..variants import apply, combinations
from ..variants.stochastic_depth import CATALOGUE, StochasticDepthRules
from ..verdict import CONFORMS, DIVERGES, VARIANT, Difference, Verdict

RATES = (0.1, 0.25, 0.5, 0.8)
SHAPE = (500, 2, 3, 4)  # N, H, W, C: images unlike in every axis
CALLS = 12
CALLS_OF_ONE_DRAW = 60  # where all examples of a batch share their draw, so that a call says little of the rate
FALSE_ALARM = 1e-9  # the probability that a whole check finds a difference in a correct target
EXACT = 1e-5  # the relative error of a factor that is not random
ZERO = 1e-6  # a factor below it is 0


def _images(call):
    """x (N, H, W, C) with no zero in it."""
    random = np.random.default_rng([19, call])
    values = random.uniform(0.5, 2.0, SHAPE) * random.choice([-1.0, 1.0], SHAPE)
    return values.astype(np.float32).astype(np.float64)


@dataclasses.dataclass(frozen=True)
class _Observation:
    """The results at one rate, an array a call: the factor of every value in training, that of its gradient (or None),
    and the factor in evaluation.
    """

    factors: tuple[np.ndarray, ...]
    gradients: tuple[np.ndarray | None, ...]
    evaluation: tuple[np.ndarray, ...]


def _observe(run, rate, calls):
    factors, gradients, evaluation = [], [], []
    for call in range(calls):
        x = _images(call)
        out, grad = run(x, rate, True, call)
        factors.append(np.asarray(out, dtype=np.float64) / x)
        gradients.append(None if grad is None else np.asarray(grad, dtype=np.float64) / x)
        if call < 2:
            evaluation.append(np.asarray(run(x, rate, False, call)[0], dtype=np.float64) / x)
    return _Observation(tuple(factors), tuple(gradients), tuple(evaluation))


def _deviation(count, chance):
    """How far a mean of `count` independent 0s and 1s deviates with probability below `chance` (Hoeffding's bound)."""
    return math.sqrt(math.log(2.0 / chance) / (2.0 * count))


def _differences(seen, rules):
    """Yield the Differences of the observations {rate: _Observation} from `rules`; shares by Hoeffding's bound."""
    chance = FALSE_ALARM / (3 * len(seen))
    for rate, at in seen.items():
        yield from _differences_at(rate, at, rules, chance)


def _differences_at(rate, at, rules, chance):
    scale, keep, mask = rules.scale(rate), rules.kept(rate), rules.mask
    shape = tuple(1 if axis in mask.constant_axes else size for axis, size in enumerate(SHAPE))
    drawn = [factors[tuple(slice(size) for size in shape)] for factors in at.factors]
    masks = np.stack([np.abs(part) > ZERO for part in drawn])
    kept = np.concatenate([part[np.abs(part) > ZERO] for part in drawn]) if masks.any() else np.array([scale])
    independent = masks if rules.new_draws else masks[:1]
    yield _difference(f"one draw for each {mask.one_draw}, rate {rate:g}", _unevenness(at.factors, mask, keep), EXACT)
    yield _difference(f"share kept, rate {rate:g}", abs(float(np.mean(independent)) - keep),
                      _deviation(independent.size, chance))
    yield _difference(f"new draws, rate {rate:g}", float(_is_repeated(masks) and keep not in (0.0, 1.0)
                                                         and rules.new_draws), 0.5)
    yield _difference(f"what is kept, rate {rate:g}", float(np.max(np.abs(kept - scale))) / scale, EXACT)
    if all(grad is not None for grad in at.gradients):
        errors = [np.abs(grad - factors) for grad, factors in zip(at.gradients, at.factors, strict=True)]
        yield _difference(f"gradient, rate {rate:g}", max(float(np.max(error)) for error in errors), EXACT)
    if rules.evaluation is None:
        share = np.mean([np.abs(part[:, 0, 0, 0]) > ZERO for part in at.evaluation])
        yield _difference(f"evaluation, rate {rate:g}", abs(float(share) - keep), _deviation(2 * SHAPE[0], chance))
    else:
        expected = rules.evaluation(rate)
        error = max(float(np.max(np.abs(part - expected))) for part in at.evaluation)
        yield _difference(f"evaluation, rate {rate:g}", error, EXACT)


def _difference(name, error, allowed):
    epsilon = tolerance.epsilon("float64")
    return Difference(name, error / epsilon, allowed / epsilon, error)


def _unevenness(factors, mask, keep):
    """The spread of the factors along the mask's constant axes; 1 where a random mask is constant along others too."""
    spread = max(float(np.max(np.ptp(part, axis=mask.constant_axes))) if mask.constant_axes else 0.0
                 for part in factors)
    others = [axis for axis in range(4) if axis not in mask.constant_axes]
    coarser = any(all(np.ptp(part, axis=axis).max() < ZERO for part in factors) for axis in others)
    return max(spread, float(0.0 < keep < 1.0 and coarser))


def _is_repeated(masks):
    """Whether all calls drew the same mask, of more than one number."""
    return len(masks) > 1 and masks[0].size > 1 and all(np.array_equal(masks[0], mask) for mask in masks[1:])


def _agrees(differences):
    return all(difference.agrees for difference in differences)


def _counterexample(seen):
    """Eight examples of one call, before and after, at the first rate that shows a difference."""
    rules = StochasticDepthRules()
    rate = next((rate for rate, at in seen.items() if not _agrees(_differences({rate: at}, rules))), RATES[0])
    x = _images(0)[:8, 0, 0, 0]
    return {"rate": rate, "x": x.tolist(), "in training": (x * seen[rate].factors[0][:8, 0, 0, 0]).tolist(),
            "in evaluation": (x * seen[rate].evaluation[0][:8, 0, 0, 0]).tolist()}


@tries_frameworks
def check_stochastic_depth(target: Any, *, framework: str = "auto", examples: int = 20, name: str | None = None,
                           **options: Any) -> Verdict:
    """The Verdict on stochastic depth.

    target: a function of (x, rate, training) or a module made for a rate, by their usual names; parameters called rng,
    key, generator or seed get new randomness in every call. examples: calls at every rate, 12 at least. options are
    passed to the target. InputError when it cannot be used.
    """
    adapter = stochastic_depth_adapter(target, framework, options)
    return _verdict(adapter.run, max(CALLS, examples),
                    {"target": name or title_of(target), "framework": adapter.framework.name})


def _candidates() -> Iterator[Group]:
    """Single variants, pairs, triples."""
    yield from combinations(CATALOGUE)
    yield from filter(without_conflict, itertools.combinations(CATALOGUE, 3))


def _verdict(run: Callable, calls: int, facts: dict[str, str]) -> Verdict:
    seen = {rate: _observe(run, rate, calls) for rate in RATES}
    if all(np.ptp(factors, axis=0).max() < ZERO for at in seen.values() for factors in at.factors):
        calls = max(calls, CALLS_OF_ONE_DRAW)
        seen = {rate: _observe(run, rate, calls) for rate in RATES}
    differences = tuple(_differences(seen, StochasticDepthRules()))
    note = f"decided on {calls * SHAPE[0]} examples a rate; a correct target diverges with probability below " \
           f"{FALSE_ALARM:g}"
    found: dict[str, Any] = dict(
        facts, kind="stochastic_depth", precision="float64", examples=calls * len(RATES),
        differences=differences, notes=(note,))
    if _agrees(differences):
        return Verdict(outcome=CONFORMS, **found)
    variants = next((variants for variants in _candidates()
                     if _agrees(_differences(seen, apply(StochasticDepthRules(), variants)))), ())
    if variants and all(variant.benign for variant in variants):
        return Verdict(outcome=VARIANT, relative_difference=1.0 / (1.0 - 0.25) - 1.0, **named(variants), **found)
    return Verdict(outcome=DIVERGES, counterexample=_counterexample(seen), **named(variants), **found)
