"""From a target, a reference with rules and a set of input cases to a verdict."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from . import diagnosis, tolerance
from .no_effect import without_effect
from .shrink import smallest
from .variants import KnownVariant, apply
from .verdict import CONFORMS, DIVERGES, VARIANT, Difference, Verdict

Outputs = Mapping[str, np.ndarray]
REMEMBERED = 512  # results of the reference
IN_FLOAT32_LIMITS = tolerance.epsilon("float32") / tolerance.epsilon("float64")  # an excess beyond it is one there
LEAST_IN_FLOAT32 = 1e-10  # relative: far less than the rounding of any number in float32
MOST_NUMBERS = 4096  # of the results on a counterexample
IN_FLOAT32 = ("compared in float32: in float64 no known form agrees, as if some of the target's numbers were float32")
IN_HALF = "its results are {0} numbers: what {0} rounds away cannot be checked"
ROUNDED_CONSTANTS = "compared in float32: in float64 it differs, and numbers in its code may have become float32"


@dataclasses.dataclass(frozen=True, eq=False)
class InputCase:
    """One input: named float64 arrays whose values float32 has too, and options. Not to be changed once made."""

    arrays: dict[str, np.ndarray]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def size(self) -> int:
        """The number of values."""
        return sum(array.size for array in self.arrays.values())

    @property
    def title(self) -> str:
        """The shape of its input, or of its first array, and its options."""
        name = "x" if "x" in self.arrays else next(iter(self.arrays))
        options = ", ".join(f"{key} = {value}" for key, value in self.options.items())
        return f"{name} {self.arrays[name].shape}{', ' if options else ''}{options}"

    @property
    def simplicity(self) -> tuple[bool, int]:
        """Smaller for what shows a difference better: the plain use before others, then fewer values."""
        return self.options.get("use", "plain") != "plain", self.size

    def cast(self, dtype: Any) -> "InputCase":
        """The same input with its floating arrays in `dtype`."""
        return InputCase({name: array.astype(dtype) if array.dtype.kind == "f" else array
                          for name, array in self.arrays.items()}, self.options)

    def as_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return {**{name: array.tolist() for name, array in self.arrays.items()}, **self.options}


@dataclasses.dataclass(frozen=True, eq=False)
class Check:
    """A reference, its known variants and its input cases.

    reference(case, rules) -> dict of named arrays in the order of the computation, in the case's dtype;
    rules: the instance of a frozen dataclass that is the reference; catalogue: the known variants; typical: cases with
    weights as networks have them; edges: cases that distinguish known variants; drawn(seed): one more case for a whole
    number; smaller(case): cases a little smaller, for shrinking; scales(case) -> dict: for tensors whose terms cancel,
    the largest magnitude of the terms; screen(case, rules): the cheap part of the reference (values, not gradients),
    which excludes most candidates, or None; is_slow: whether the search for known variants takes long.
    """

    name: str
    reference: Callable[[InputCase, Any], Outputs]
    rules: Any
    catalogue: tuple[KnownVariant, ...]
    typical: tuple[InputCase, ...]
    edges: tuple[InputCase, ...]
    drawn: Callable[[int], InputCase]
    smaller: Callable[[InputCase], Iterable[InputCase]] = lambda case: ()
    scales: Callable[[InputCase], Mapping[str, float]] = lambda case: {}
    screen: Callable[[InputCase, Any], Outputs] | None = None
    is_slow: bool = False

    def computed(self, case: InputCase, rules: Any) -> Outputs:
        """The reference by `rules` in float64."""
        return _computed(self.reference, case, rules)

    def scales_of(self, case: InputCase) -> Mapping[str, float]:
        """The largest magnitude of what is added up, for tensors whose terms cancel."""
        return _scales(self.scales, case)

    def expected(self, case: InputCase, rules: Any, precision: str) -> tuple[Outputs, Mapping[str, float],
                                                                             Mapping[str, float]]:
        """(the reference in float64, the error that rounding explains, the scales), by name."""
        reference, scales = self.computed(case, rules), self.scales_of(case)
        return reference, _allowed(self.reference, self.scales, case, rules, precision), scales

    def explained(self, cases: Sequence[InputCase], outputs: Sequence[Outputs], precision: str,
                  simply: bool = True) -> diagnosis.Diagnosis:
        """The known variants that reproduce the target's outputs; simply: whether single ones are looked for, too."""
        return diagnosis.diagnose_by_uses(self, cases, outputs, precision, simply=simply)

    def explained_simply(self, cases: Sequence[InputCase], outputs: Sequence[Outputs],
                         precision: str) -> diagnosis.Diagnosis:
        """The same without most of the search for variants that meet in a tensor."""
        return diagnosis.diagnose_by_uses(self, cases, outputs, precision, deeply=False)

    def differences(self, rules: Any, cases: Iterable[InputCase], outputs: Iterable[Outputs],
                    precision: str) -> tuple[Difference, ...]:
        """The largest Difference of every tensor over the cases, in the order of the computation."""
        epsilon = tolerance.epsilon(precision)
        worst: dict[str, Difference] = {}
        order: dict[str, None] = {}
        for case, output in zip(cases, outputs, strict=True):
            expected, allowed, scales = self.expected(case, rules, precision)
            order.update(dict.fromkeys(expected))
            for name in (name for name in expected if name in output):
                error = tolerance.distance(output[name], expected[name], scales.get(name, 0.0))
                difference = Difference(name, error / epsilon, allowed[name] / epsilon, error)
                if name not in worst or difference.excess > worst[name].excess:
                    worst[name] = difference
        return tuple(worst[name] for name in order if name in worst)

    def agrees(self, case: InputCase, output: Outputs, precision: str) -> bool:
        """Whether rounding explains all differences of one case from the reference by the check's own rules."""
        return all(difference.agrees for difference in self.differences(self.rules, [case], [output], precision))


@functools.lru_cache(maxsize=REMEMBERED)
def _computed(reference, case, rules):
    with np.errstate(all="ignore"):
        return {name: np.asarray(array) for name, array in reference(case, rules).items()}


@functools.lru_cache(maxsize=REMEMBERED)
def _allowed(reference, scales, case, rules, precision):
    with np.errstate(all="ignore"):
        in_float32 = reference(case.cast(np.float32), rules)
    return tolerance.allowed(_computed(reference, case, rules), in_float32, _scales(scales, case), precision)


@functools.lru_cache(maxsize=REMEMBERED)
def _scales(scales, case):
    return scales(case)


def compare(check: Check, run: Callable[[InputCase], Outputs], *, target: str, framework: Any, precision: str = "auto",
            examples: int = 20, notes: Iterable[str] = ()) -> Verdict:
    """The Verdict on a target that `run(case)` computes; it may leave out tensors that the target does not have.

    target: its name; framework: the Framework that it is written in; precision: what it computes in, "auto" for the
    coarsest of its results on float64 inputs; examples: how many cases are drawn beside the fixed ones.
    """
    comparison = _Comparison(check, run, examples, {"target": target, "framework": framework.name}, tuple(notes))
    if precision != "auto":
        return comparison.verdict(precision)
    framework.seen.clear()
    comparison.outputs(comparison.cases[0], "float64")
    precision = tolerance.coarsest(framework.seen)
    if precision == "float64":
        return comparison.verdict_in_float64(framework.rounds_constants)
    return comparison.verdict(precision, notes=(IN_HALF.format(precision),) if "16" in precision else ())


class _Comparison:
    def __init__(self, check, run, examples, facts, notes):
        self.check, self.run, self.facts, self.notes = check, run, facts, notes
        self.cases = [*check.typical, *check.edges, *(check.drawn(seed) for seed in range(examples))]
        self.known: dict[str, list[Outputs]] = {}  # by precision

    def outputs(self, case: InputCase, precision: str) -> Outputs:
        """The target's outputs, as named host arrays; InputError where there are none that the reference has."""
        given = case if precision == "float64" else case.cast(np.float32)
        found = {name: np.asarray(array) for name, array in self.run(given).items()}
        if not found:
            raise InputError(f"{self.check.name}: the target returned nothing to compare")
        return found

    def all_outputs(self, precision: str) -> list[Outputs]:
        """The target's outputs of all cases, computed once; the first time, cases that it refuses are left out."""
        if precision not in self.known:
            found = [self._unless_refused(case, precision) for case in self.cases]
            self.cases[:] = [case for case, outputs in zip(self.cases, found, strict=True) if outputs is not None]
            self.known[precision] = [outputs for outputs in found if outputs is not None]
        return self.known[precision]

    def _unless_refused(self, case, precision):
        """The outputs of a case; None, and a note, where the target raises on one that is neither typical nor known."""
        try:
            return self.outputs(case, precision)
        except InputError as error:
            if case in self.check.typical or self.known:
                raise
            self.notes += (f"not checked for {case.title}: {error}",)
            return None

    def is_partly_coarser(self) -> bool:
        """Whether some tensor agrees in float32 and not in float64, by more than a number such as 1e-12 changes it."""
        found = [self.check.differences(self.check.rules, self.cases, self.all_outputs("float64"), precision)
                 for precision in ("float32", "float64")]
        return any(coarse.agrees and not fine.agrees and fine.relative_difference > LEAST_IN_FLOAT32
                   for coarse, fine in zip(*found, strict=True))

    def verdict_in_float64(self, rounds_constants: bool) -> Verdict:
        """The Verdict in float64, or in float32 where that explains more: some of the target's numbers may be float32.

        What explains a target in float64 does so in float32. So mistakes that meet in a tensor are looked for there;
        where what is found is not exact in float64, others of the same rules are tried there, such as another eps.
        """
        if self.check.is_slow and rounds_constants and self._differs_in("float64"):
            return self.verdict("float32", notes=(ROUNDED_CONSTANTS,))
        verdict, nearest = self._verdict_if_simple("float64")
        if verdict is None and (rounds_constants or self.is_partly_coarser()):
            verdict, _ = self._verdict_if_simple("float32", notes=(IN_FLOAT32,))
        if verdict is not None or self.check.is_slow:  # whose one search is no simple one
            return verdict or self.verdict("float64", known=nearest)
        outputs = self.all_outputs("float64")
        found = self._explained("float32", outputs, simply=nearest.excess < IN_FLOAT32_LIMITS)
        if found.variants is None:
            return self.verdict("float64", known=found._replace(nearest=found.nearest or nearest.nearest))
        exact = diagnosis.reproducing(self.check, self.cases, outputs, "float64",
                                      diagnosis.alternatives(found.variants, self.check.catalogue))
        if exact is not None:
            return self.verdict("float64", known=diagnosis.Diagnosis(exact, ()))
        return self.verdict("float32", notes=(IN_FLOAT32,), known=found)

    def _verdict_if_simple(self, precision, notes=()):
        """(the Verdict where the target conforms or little search explains it, else None; the Diagnosis)."""
        if not self._differs_in(precision):
            return self.verdict(precision, notes), diagnosis.CONFORMING
        known = self._explained(precision, self.all_outputs(precision), deeply=False)
        return (self.verdict(precision, notes, known) if known.variants is not None else None), known

    def _differs_in(self, precision):
        return not all(difference.agrees for difference in self.check.differences(
            self.check.rules, self.cases, self.all_outputs(precision), precision))

    def verdict(self, precision: str, notes: tuple[str, ...] = (), known: diagnosis.Diagnosis | None = None) -> Verdict:
        """The Verdict in one precision; known: the known variants that explain it, where they were looked for."""
        check = self.check
        outputs = self.all_outputs(precision)
        found: dict[str, Any] = dict(
            self.facts, kind=check.name, precision=precision, examples=len(self.cases), notes=self.notes + notes,
            differences=check.differences(check.rules, self.cases, outputs, precision))
        if all(difference.agrees for difference in found["differences"]):
            return Verdict(outcome=CONFORMS, **found)
        found["relative_difference"] = _relative_difference(check, outputs)
        known = known or self._explained(precision, outputs)
        variants, partly = known.variants, known.partly
        found |= diagnosis.named(variants or ())
        found["partly"] = tuple((" with ".join(variant.name for variant in group), names) for group, names in partly)
        if variants and all(variant.benign for variant in variants):
            return Verdict(outcome=VARIANT, **found)
        benign = [variant for variant in variants or () if variant.benign]
        if benign:  # the first difference and the counterexample are to show the others
            check = dataclasses.replace(check, rules=apply(check.rules, benign))
            found["differences"] = check.differences(check.rules, self.cases, outputs, precision)
        found["notes"] += tuple(_constant_factor(check, self.cases, outputs))
        if not variants:
            found["notes"] += self._as_if_coarser(check, outputs)
        shown = smallest(self.cases, outputs, check.smaller, run=lambda case: self.outputs(case, precision),
                         agrees=lambda case, output: check.agrees(case, output, precision))
        return Verdict(outcome=DIVERGES, nearest=tuple(variant.name for variant in known.nearest),
                       counterexample=shown.as_json(), results=self._results(check, shown, precision), **found)

    def _explained(self, precision, outputs, deeply=True, simply=True):
        """The Diagnosis; of a target that has no effect, where that is no known variant of its own, just this."""
        check = self.check
        nothing = without_effect(self.cases, outputs)
        if nothing is None:
            if not deeply:
                return check.explained_simply(self.cases, outputs, precision)
            return check.explained(self.cases, outputs, precision, simply)
        known = check.explained_simply(self.cases, outputs, precision)
        return known if known.variants and len(known.variants) == 1 else diagnosis.Diagnosis((nothing,), ())

    def _as_if_coarser(self, check, outputs):
        """A note, if a coarser precision would explain all differences: a small mistake could hide in its rounding."""
        for precision in ("float32", "float16", "bfloat16"):
            if all(each.agrees for each in check.differences(check.rules, self.cases, outputs, precision)):
                return (f"rounding to {precision} would explain all differences: perhaps it is computed in that, and "
                        "then nothing smaller can be checked",)
        return ()

    def _results(self, check, case, precision):
        """What differs on the counterexample: the target's and the reference's; None where that is too much to show."""
        outputs, expected = self.outputs(case, precision), check.computed(case, check.rules)
        wrong = [difference.tensor for difference in check.differences(check.rules, [case], [outputs], precision)
                 if not difference.agrees]
        if sum(expected[name].size for name in wrong) > MOST_NUMBERS:
            return None
        return {name: {"target": outputs[name].tolist(), "reference": expected[name].tolist()} for name in wrong}


def _relative_difference(check, outputs):
    """The largest relative difference from the reference on typical weights."""
    distances = []
    for case, output in zip(check.typical, outputs, strict=False):  # the typical cases are the first ones
        expected = check.computed(case, check.rules)
        distances += [tolerance.distance(output[name], expected[name]) for name in expected if name in output]
    largest = max(distances, default=None)
    return largest if largest is not None and np.isfinite(largest) else None


def _constant_factor(check, cases, outputs):
    """A note, if the first tensor that differs is everywhere the same multiple of the reference."""
    ratios = []
    for case, output in zip(cases, outputs, strict=True):
        for name, expected in check.computed(case, check.rules).items():
            got = np.real(output.get(name, expected)).astype(np.float64)
            if tolerance.distance(got, expected) > 1e-6:
                large = np.abs(expected) > 0.1 * np.max(np.abs(expected), initial=0.0)
                comparable = got.shape == expected.shape and np.any(large)
                ratios.extend((got[large] / expected[large]).reshape(-1) if comparable else [np.nan])
                break
    factor = float(np.median(ratios)) if ratios else 0.0
    if np.isfinite(factor) and factor != 0.0 and np.all(np.abs(np.asarray(ratios) / factor - 1.0) < 1e-4):
        yield f"where it first differs, the target is {factor:.6g} times the reference everywhere"
