"""From a target, a reference with rules and a set of problems to a verdict."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import InputError
from . import tolerance
from .variants import changed, combinations, extensions
from .verdict import CONFORMS, DIVERGES, VARIANT, Difference, Verdict


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """One question: named float64 arrays whose values float32 holds too, and options."""

    arrays: dict[str, np.ndarray]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def cast(self, dtype):
        """The same question with its floating arrays in `dtype`."""
        return Problem({name: array.astype(dtype) if array.dtype.kind == "f" else array
                        for name, array in self.arrays.items()}, self.options)

    def as_json(self):
        """Plain lists and numbers."""
        return {**{name: array.tolist() for name, array in self.arrays.items()}, **self.options}


@dataclasses.dataclass(frozen=True)
class Kind:
    """What one kind of check knows.

    reference(problem, rules) -> dict of named arrays in the order of the computation, in the problem's dtype;
    rules: the dataclass instance that is the reference; catalogue: the known forms; typical: problems with weights as
    networks have them; edges: problems that tell known forms apart; drawn(seed): one more problem for a whole number;
    smaller(problem): problems a little smaller, for shrinking; scales(problem) -> dict: for tensors whose terms cancel,
    the largest magnitude of what is added up; screen(problem, rules): the cheap part of the reference (values, not
    gradients), by which most candidates are ruled out, or None.
    """

    name: str
    reference: Callable
    rules: Any
    catalogue: tuple
    typical: tuple
    edges: tuple
    drawn: Callable
    smaller: Callable = lambda problem: ()
    scales: Callable = lambda problem: {}
    screen: Callable | None = None

    def expected(self, problem, rules, precision):
        """(the reference in float64, what rounding allows, the scales), by name."""
        with np.errstate(all="ignore"):
            reference = {name: np.asarray(array) for name, array in self.reference(problem, rules).items()}
            in_float32 = self.reference(problem.cast(np.float32), rules)
        scales = _scales(self.scales, problem)
        return reference, tolerance.allowed(reference, in_float32, scales, precision), scales

    def explained(self, problems, answers, precision):
        """(entries that reproduce the target's answers or None, entries that come nearest)."""
        return _explain(self, problems, answers, precision)


@functools.lru_cache(maxsize=256)
def _scales(scales, problem):
    return scales(problem)


def judge(kind, subject, *, target, framework, precision="auto", examples=20, notes=()):
    """The Verdict on `subject(problem) -> dict of named arrays`; it may leave out tensors that it does not compute.

    framework: the Framework that it speaks; precision: what it computes in, "auto" for the coarsest of its results when
    it is asked in float64; examples: how many problems are drawn beside those that are always asked.
    """
    problems = [*kind.typical, *kind.edges, *(kind.drawn(seed) for seed in range(examples))]
    told = dict(target=target, framework=framework.name, notes=tuple(notes))
    if precision != "auto":
        return _judged(kind, subject, problems, precision, told)
    framework.seen.clear()
    _answer(kind, subject, problems[0], "float64")
    precision = next((name for name in tolerance.COARSEST_FIRST if name in framework.seen), "float64")
    verdict = _judged(kind, subject, problems, precision, told)
    if precision == "float64" and verdict.outcome == DIVERGES and not verdict.diagnosis:
        told["notes"] += ("asked in float32: asked in float64 it agrees with no known form, as if it kept some of its "
                          "numbers in float32",)
        coarser = _judged(kind, subject, problems, "float32", told)
        if coarser.diagnosis or coarser.outcome == CONFORMS:
            return coarser
    return verdict


def _judged(kind, subject, problems, precision, told):
    """The Verdict in one precision."""
    answers = [_answer(kind, subject, problem, precision) for problem in problems]
    differences = worst_differences(kind, kind.rules, problems, answers, precision)
    found = dict(told, kind=kind.name, precision=precision, examples=len(problems), differences=differences)
    if all(difference.agrees for difference in differences):
        return Verdict(outcome=CONFORMS, **found)
    size = _size(kind, answers)
    entries, nearest = kind.explained(problems, answers, precision)
    if entries and all(entry.harmless for entry in entries):
        return Verdict(outcome=VARIANT, diagnosis=_names(entries), explanation=_sentences(entries), size=size, **found)
    harmless = [entry for entry in entries or () if entry.harmless]
    if harmless:  # the rest is what the first difference and the counterexample are to show
        kind = dataclasses.replace(kind, rules=changed(kind.rules, harmless))
        found["differences"] = worst_differences(kind, kind.rules, problems, answers, precision)
    found["notes"] += tuple(_factor(kind, problems, answers))
    return Verdict(outcome=DIVERGES, diagnosis=_names(entries), explanation=_sentences(entries),
                   nearest=_names(nearest), size=size,
                   counterexample=_shrunken(kind, subject, problems, answers, precision), **found)


def _names(entries):
    return tuple(entry.name for entry in entries or ())


def _sentences(entries):
    return tuple(entry.explanation for entry in entries or ())


def _answer(kind, subject, problem, precision):
    """What the target says, as named host arrays; InputError when it says nothing that the reference knows."""
    asked = problem if precision == "float64" else problem.cast(np.float32)
    answer = {name: np.asarray(array) for name, array in subject(asked).items()}
    if not answer:
        raise InputError(f"{kind.name}: the target returned nothing to compare")
    return answer


def worst_differences(kind, rules, problems, answers, precision):
    """The worst Difference of every tensor, in the order of the computation."""
    worst, order = {}, {}
    for problem, answer in zip(problems, answers):
        expected, allowed, scales = kind.expected(problem, rules, precision)
        order.update(dict.fromkeys(expected))
        for name in (name for name in expected if name in answer):
            apart = tolerance.distance(answer[name], expected[name], scales.get(name, 0.0))
            epsilon = tolerance.epsilon(precision)
            difference = Difference(name, apart / epsilon, allowed[name] / epsilon, apart)
            if name not in worst or _excess(difference) > _excess(worst[name]):
                worst[name] = difference
    return tuple(worst[name] for name in order if name in worst)


def _excess(difference):
    return difference.error / difference.allowed


def _explain(kind, problems, answers, precision):
    """(entries that reproduce the target or None, entries that come nearest): singles before pairs.

    Where no pair does, the nearest one gets a third: mistakes in places that do not touch each other add up.
    """
    nearest, least = (), float("inf")
    asked = sorted(zip(problems, answers), key=lambda pair: sum(array.size for array in pair[0].arrays.values()))

    def excess_of(entries):
        """How far they miss at the worst, or, once that is no better than the nearest so far, at least."""
        excess = 0.0
        for place, (problem, answer) in enumerate(asked):
            rules = changed(kind.rules, entries)
            try:
                screened = _screened(kind, rules, problem, answer, precision)
                excess = max(excess, screened)
                if not screened:
                    differences = worst_differences(kind, rules, [problem], [answer], precision)
                    excess = max([excess, *map(_excess, differences)])
            except (ArithmeticError, ValueError):
                return float("inf")
            if excess > 1.0 and excess >= least:
                asked.insert(0, asked.pop(place))  # what ruled this one out is likely to rule out the next
                break
        return excess

    for candidates in (lambda: combinations(kind.catalogue), lambda: extensions(nearest, kind.catalogue)):
        for entries in candidates():
            excess = excess_of(entries)
            if excess <= 1.0:
                return entries, ()
            if excess < least:
                nearest, least = entries, excess
    return None, nearest


def _screened(kind, rules, problem, answer, precision):
    """How far the cheap part of a candidate misses, if by a thousand times what a good sum needs; else 0."""
    if kind.screen is None:
        return 0.0
    with np.errstate(all="ignore"):
        cheap = kind.screen(problem, rules)
    unit = tolerance.LEEWAY * tolerance.epsilon(precision)
    excess = max((tolerance.distance(answer[name], array) / unit for name, array in cheap.items() if name in answer),
                 default=0.0)
    return excess if excess > 1e3 else 0.0


def _size(kind, answers):
    """The largest relative difference from the reference on typical weights."""
    distances = [tolerance.distance(answer[name], expected) for problem, answer in zip(kind.typical, answers)
                 for name, expected in kind.reference(problem, kind.rules).items() if name in answer]
    return max(distances, default=None)


def _factor(kind, problems, answers):
    """A note, if the first tensor that is off is so by one and the same factor everywhere."""
    ratios = []
    for problem, answer in zip(problems, answers):
        for name, expected in kind.reference(problem, kind.rules).items():
            got = np.asarray(answer.get(name, expected), dtype=np.float64)
            large = got.shape == expected.shape and np.abs(expected) > 0.1 * np.max(np.abs(expected), initial=0.0)
            if tolerance.distance(got, expected) > 1e-6:
                ratios.extend((got[large] / expected[large]).reshape(-1) if np.any(large) else [np.nan])
                break
    factor = float(np.median(ratios)) if ratios else 0.0
    if np.isfinite(factor) and factor != 0.0 and np.all(np.abs(np.asarray(ratios) / factor - 1.0) < 1e-4):
        yield f"where it first differs, the target is {factor:.6g} times the reference everywhere"


def _shrunken(kind, subject, problems, answers, precision):
    """The smallest problem that still shows a difference, reached by steps of `kind.smaller`."""
    def shows(problem, answer=None):
        try:
            answer = answer or _answer(kind, subject, problem, precision)
            return any(not difference.agrees for difference in worst_differences(kind, kind.rules, [problem], [answer],
                                                                            precision))
        except Exception:  # the target cannot take so small a problem
            return False

    problem = min((problem for problem, answer in zip(problems, answers) if shows(problem, answer)),
                  key=lambda problem: sum(array.size for array in problem.arrays.values()))
    for _ in range(200):
        smaller = next((candidate for candidate in kind.smaller(problem) if shows(candidate)), None)
        if smaller is None:
            break
        problem = smaller
    return problem.as_json()
