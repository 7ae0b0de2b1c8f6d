"""Stochastic depth, judged by what it does to many examples.

The reference: functional/regularization.py and nn/layers.py (1603.09382; that nothing is divided by the keep
probability is the default of the authors' released NFNet code).
"""

import dataclasses
import math

import numpy as np

from ...functional.dropout import stochastic_depth
from .. import tolerance
from ..variants import Entry, changed, combinations
from ..adapters.stochastic_depth import stochastic_depth_subject
from ..verdict import CONFORMS, DIVERGES, VARIANT, Difference, Verdict

RATES = (0.1, 0.25, 0.5, 0.8)
SHAPE = (500, 2, 3, 4)  # N, H, W, C: images unlike in every axis
CALLS = 12
FALSE_ALARM = 1e-9  # of a whole check


@dataclasses.dataclass(frozen=True)
class Rules:
    """x·mask: one Bernoulli of 1 - rate an example in training, no rescaling, x itself in evaluation; and other forms.
    """

    mask: str = "example"  # one draw for each
    kept: str = "1 - rate"  # with which probability
    scale: str = "1"  # of what is kept
    evaluation: str = "x"
    draws: str = "new ones every time"


MASKS = {"example": (1, 2, 3), "element": (), "channel of an example": (1, 2), "pixel of an example": (3,),
         "batch": (0, 1, 2, 3), "channel of the batch": (0, 1, 2)}  # the axes along which the mask does not change
KEPT = {"1 - rate": lambda rate: 1.0 - rate, "rate": lambda rate: rate, "1 - rate²": lambda rate: 1.0 - rate**2,
        "(1 - rate)²": lambda rate: (1.0 - rate)**2, "1": lambda rate: 1.0, "1/2": lambda rate: 0.5}
SCALES = {"1": lambda rate: 1.0, "1/(1 - rate)": lambda rate: 1.0 / (1.0 - rate), "1/rate": lambda rate: 1.0 / rate,
          "1 - rate": lambda rate: 1.0 - rate, "1/√(1 - rate)": lambda rate: (1.0 - rate)**-0.5}
EVALUATIONS = {"x": lambda rate: 1.0, "x·(1 - rate)": lambda rate: 1.0 - rate, "x/(1 - rate)":
               lambda rate: 1.0 / (1.0 - rate), "x·rate": lambda rate: rate}


def variant(x, rate, training, draw, rules=Rules()):
    """The reference as changed by `rules`, on an array x (N, H, W, C), with draws from `draw`."""
    if not training and rules.evaluation != "as in training":
        return x * EVALUATIONS[rules.evaluation](rate)
    random = np.random.default_rng([17, draw if rules.draws == "new ones every time" else 0])
    shape = tuple(1 if axis in MASKS[rules.mask] else size for axis, size in enumerate(x.shape))
    mask = (random.random(shape) < KEPT[rules.kept](rate)).astype(x.dtype)
    if shape == (len(x), 1, 1, 1) and rules.scale in ("1", "1/(1 - rate)"):
        return stochastic_depth(x, mask, rate=rate, rescale=rules.scale != "1")
    return x * mask * SCALES[rules.scale](rate)


CATALOGUE = (
    Entry("rescaled by 1/(1 - rate)", {"scale": "1/(1 - rate)"}, "What is kept is divided by the keep probability. The "
          "released NFNet code does not, so that a branch weighs 1/(1 - rate) more here in training; a skip gain or a "
          "last gain can learn the factor.", harmless=True),
    Entry("a mask for every element", {"mask": "element"}, "Every value is dropped by itself: that is dropout, not "
          "stochastic depth."),
    Entry("a mask for every channel", {"mask": "channel of an example"}, "Channels are dropped; whole examples should "
          "be."),
    Entry("a mask for every pixel", {"mask": "pixel of an example"}, "Pixels are dropped; whole examples should be."),
    Entry("one mask for the batch", {"mask": "batch"}, "All examples of a batch are dropped together: a single number "
          "is drawn where one an example is meant (often a mask of shape (1,) or ())."),
    Entry("one mask for the batch's channels", {"mask": "channel of the batch"}, "The mask lies along the wrong axis: "
          "one draw a channel, the same for all examples."),
    Entry("keep and drop exchanged", {"kept": "rate"}, "Examples are kept with probability rate; it should be "
          "1 - rate."),
    Entry("rate squared", {"kept": "1 - rate²"}, "Examples are kept with probability 1 - rate²."),
    Entry("dropped twice", {"kept": "(1 - rate)²"}, "Examples are kept with probability (1 - rate)²: two masks are "
          "multiplied."),
    Entry("nothing dropped", {"kept": "1"}, "Nothing is ever dropped in training."),
    Entry("half of all dropped", {"kept": "1/2"}, "Half of the examples are dropped whatever the rate is."),
    Entry("divided by the rate", {"scale": "1/rate"}, "What is kept is divided by rate, not by 1 - rate."),
    Entry("multiplied by 1 - rate", {"scale": "1 - rate"}, "What is kept is multiplied by the keep probability, which "
          "counts the dropping twice."),
    Entry("divided by √(1 - rate)", {"scale": "1/√(1 - rate)"}, "What is kept is divided by the root of the keep "
          "probability."),
    Entry("active in evaluation", {"evaluation": "as in training"}, "Examples are dropped in evaluation too: "
          "predictions become random."),
    Entry("multiplied by 1 - rate in evaluation", {"evaluation": "x·(1 - rate)"}, "In evaluation the branch is "
          "multiplied by the keep probability, as the paper on stochastic depth has it; the released NFNet code leaves "
          "it as it is."),
    Entry("divided by 1 - rate in evaluation", {"evaluation": "x/(1 - rate)"}, "In evaluation the branch is divided by "
          "the keep probability."),
    Entry("the same mask every time", {"draws": "the same every time"}, "Every call draws the same mask: the random "
          "state does not advance."),
)


def _images(call):
    """x (N, H, W, C) with no zero in it."""
    random = np.random.default_rng([19, call])
    values = random.uniform(0.5, 2.0, SHAPE) * random.choice([-1.0, 1.0], SHAPE)
    return values.astype(np.float32).astype(np.float64)


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What was seen at one rate: masks and factors (an array a call), and gradients' factors, or None."""

    factors: tuple
    backward: tuple
    evaluation: tuple


def _observe(subject, rate, calls):
    factors, backward, evaluation = [], [], []
    for call in range(calls):
        x = _images(call)
        out, grad = subject(x, rate, True, call)
        factors.append(np.asarray(out, dtype=np.float64) / x)
        backward.append(None if grad is None else np.asarray(grad, dtype=np.float64) / x)
        if call < 2:
            evaluation.append(np.asarray(subject(x, rate, False, call)[0], dtype=np.float64) / x)
    return _Seen(tuple(factors), tuple(backward), tuple(evaluation))


def _bound(count, chance):
    """How far (as a share) a mean of `count` independent 0s and 1s strays with probability below `chance` (Hoeffding).
    """
    return math.sqrt(math.log(2.0 / chance) / (2.0 * count))


def _differences(seen, rules):
    """[Difference] of what was seen, {rate: _Seen}, from what `rules` say; allowed shares by Hoeffding's bound."""
    found, tests = [], 3 * len(seen)
    for rate, at in seen.items():
        scale, keep = SCALES[rules.scale](rate), KEPT[rules.kept](rate)
        fixed = MASKS[rules.mask]
        uneven = max(float(np.max(np.ptp(factors, axis=fixed))) if fixed else 0.0 for factors in at.factors)
        coarser = 0.0 < keep < 1.0 and _is_coarser(at.factors, fixed)
        shape = tuple(1 if axis in fixed else size for axis, size in enumerate(SHAPE))
        drawn = [factors[tuple(slice(size) for size in shape)] for factors in at.factors]
        masks = np.stack([np.abs(part) > 1e-6 for part in drawn])
        kept = np.concatenate([part[np.abs(part) > 1e-6] for part in drawn]) if masks.any() else np.array([scale])
        repeated = len(masks) > 1 and all(np.array_equal(masks[0], mask) for mask in masks[1:])
        should_repeat = keep in (0.0, 1.0) or rules.draws != "new ones every time"
        independent = masks[:1] if rules.draws != "new ones every time" else masks
        found += [
            _far(f"one draw for each {rules.mask}, rate {rate:g}", max(uneven, float(coarser)), 1e-5),
            _far(f"share kept, rate {rate:g}", abs(float(np.mean(independent)) - keep),
                 _bound(independent.size, FALSE_ALARM / tests)),
            _far(f"new draws, rate {rate:g}", float(repeated and masks[0].size > 1 and not should_repeat), 0.5),
            _far(f"what is kept, rate {rate:g}", float(np.max(np.abs(kept - scale))) / scale, 1e-5)]
        if all(grad is not None for grad in at.backward):
            apart = max(float(np.max(np.abs(grad - factors))) for grad, factors in zip(at.backward, at.factors))
            found.append(_far(f"gradient, rate {rate:g}", apart, 1e-5))
        if rules.evaluation == "as in training":
            share = np.mean([np.abs(part[:, 0, 0, 0]) > 1e-6 for part in at.evaluation])
            found.append(_far(f"evaluation, rate {rate:g}", abs(float(share) - keep),
                              _bound(2 * SHAPE[0], FALSE_ALARM / tests)))
        else:
            wanted = EVALUATIONS[rules.evaluation](rate)
            apart = max(float(np.max(np.abs(part - wanted))) for part in at.evaluation)
            found.append(_far(f"evaluation, rate {rate:g}", apart, 1e-5))
    return tuple(found)


def _far(name, error, allowed):
    epsilon = tolerance.epsilon("float64")
    return Difference(name, error / epsilon, allowed / epsilon, error)


def _is_coarser(factors, fixed):
    """Whether the masks are also the same along an axis that `fixed` does not name, in every call."""
    rest = [axis for axis in range(4) if axis not in fixed]
    return any(all(np.ptp(values, axis=axis).max() < 1e-6 for values in factors) for axis in rest)


def _agrees(differences):
    return all(difference.agrees for difference in differences)


def _counterexample(seen, rules):
    """What one call made of eight examples, at the first rate that shows a difference."""
    rate = next((rate for rate, at in seen.items() if not _agrees(_differences({rate: at}, rules))), RATES[0])
    x = _images(0)[:8, 0, 0, 0]
    return {"rate": rate, "x": x.tolist(), "in training": (x * seen[rate].factors[0][:8, 0, 0, 0]).tolist(),
            "in evaluation": (x * seen[rate].evaluation[0][:8, 0, 0, 0]).tolist()}


def check_stochastic_depth(target, *, framework="auto", examples=20, name=None, **options):
    """The Verdict on stochastic depth.

    target: a function of (x, rate, training) or a module made for a rate, by whatever names these go; parameters called
    rng, key, generator or seed are given new randomness in every call. examples: calls at every rate, 12 at least.
    options are passed to the target. InputError when it cannot be used.
    """
    subject, framework = stochastic_depth_subject(target, framework, options)
    calls = max(CALLS, examples)
    seen = {rate: _observe(subject, rate, calls) for rate in RATES}
    differences = _differences(seen, Rules())
    found = dict(kind="stochastic_depth", target=name or getattr(target, "__qualname__", type(target).__qualname__),
                 framework=framework.name, precision="float64", examples=calls * len(RATES), differences=differences)
    notes = (f"judged on {calls * SHAPE[0]} examples a rate; what is right is called wrong with probability below "
             f"{FALSE_ALARM:g}",)
    if _agrees(differences):
        return Verdict(outcome=CONFORMS, notes=notes, **found)
    entries = next((entries for entries in combinations(CATALOGUE)
                    if _agrees(_differences(seen, changed(Rules(), entries)))), ())
    named = dict(diagnosis=tuple(entry.name for entry in entries),
                 explanation=tuple(entry.explanation for entry in entries), notes=notes)
    if entries and all(entry.harmless for entry in entries):
        return Verdict(outcome=VARIANT, size=1.0 / (1.0 - 0.25) - 1.0, **named, **found)
    return Verdict(outcome=DIVERGES, counterexample=_counterexample(seen, Rules()), **named, **found)
