"""The result of a check: its outcome, the differences tensor by tensor, and the diagnosis.

`Verdict.lines` is the text for a terminal; reports/ writes the same as JSON and as HTML.
"""

import dataclasses
import enum
import json
import math
from collections.abc import Iterator
from typing import Any

from .formulas import LAYOUTS, right_form

LONGEST_EXAMPLE = 400  # characters of a counterexample that the text shows


class Outcome(enum.StrEnum):
    """What a check found; each member equals its text."""

    CONFORMS = "conforms"
    VARIANT = "conforms as a named variant"
    DIVERGES = "diverges"

    @property
    def headline(self) -> str:
        """The text of a report's first line."""
        return self.upper() if self is Outcome.DIVERGES else str(self)


CONFORMS, VARIANT, DIVERGES = Outcome


@dataclasses.dataclass(frozen=True)
class Difference:
    """The largest error of one tensor of the target over all input cases.

    tensor: its name, in the order of the computation; error_eps, allowed_eps: the error and its limit, relative to the
    tensor's largest magnitude, in units of the precision's epsilon; relative_difference: the same error, without unit.
    """

    tensor: str
    error_eps: float
    allowed_eps: float
    relative_difference: float

    @property
    def agrees(self) -> bool:
        """Whether rounding explains the error."""
        return self.error_eps <= self.allowed_eps

    @property
    def excess(self) -> float:
        """The error over its limit."""
        return self.error_eps / self.allowed_eps


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The outcome of one check of one target.

    kind: the name of the check; precision: what the target computes in; examples: the number of input cases;
    diagnosis: the names of the known variants that together reproduce the target, empty where it conforms or where none
    is known; explanation: a sentence for each; nearest: the variants that come nearest where none reproduces it;
    partly: there, (known variants, the tensors that they explain); counterexample: the smallest input case found that
    shows the difference, as plain lists; relative_difference: from the reference on typical weights; notes: further
    facts, a sentence each; results: for the counterexample, {tensor: {"target": …, "reference": …}} of what differs, as
    plain lists; snippet: a program that shows the difference.
    """

    kind: str
    target: str
    framework: str
    outcome: Outcome
    precision: str
    examples: int
    differences: tuple[Difference, ...] = ()
    diagnosis: tuple[str, ...] = ()
    explanation: tuple[str, ...] = ()
    nearest: tuple[str, ...] = ()
    partly: tuple[tuple[str, tuple[str, ...]], ...] = ()
    counterexample: dict[str, Any] | None = None
    relative_difference: float | None = None
    notes: tuple[str, ...] = ()
    results: dict[str, dict[str, Any]] | None = None
    snippet: str | None = None

    @property
    def first_difference(self) -> Difference | None:
        """The first tensor of the computation whose error rounding does not explain."""
        return next((difference for difference in self.differences if not difference.agrees), None)

    @property
    def unexplained(self) -> tuple[str, ...]:
        """The names of the tensors that differ and that no known variant explains."""
        if self.diagnosis:
            return ()
        explained = {name for _, names in self.partly for name in names}
        return tuple(difference.tensor for difference in self.differences
                     if not difference.agrees and difference.tensor not in explained)

    @property
    def passed(self) -> bool:
        """Whether the target conforms, with or without known variants."""
        return self.outcome != DIVERGES

    @property
    def formula(self) -> str | None:
        """The right form of the first tensor that differs; None where the target conforms."""
        if self.outcome != DIVERGES:
            return None
        first = self.first_difference
        layout = next((name for name in LAYOUTS if any(name in note for note in self.notes)), None)
        usual = "OIHW" if self.framework == "torch" else "HWIO"
        return right_form(self.kind, first.tensor if first else None, layout or usual)

    def causes(self) -> Iterator[str]:
        """The diagnosis, a line for each variant, or that there is none."""
        diverges = self.outcome == DIVERGES
        for name, sentence in zip(self.diagnosis, self.explanation, strict=True):
            yield f"{'because' if diverges else 'namely'}: {name}. {sentence}"
        if diverges and not self.diagnosis:
            yield from self._what_is_unexplained()

    def lines(self) -> Iterator[str]:
        """The report as lines of text."""
        diverges = self.outcome == DIVERGES
        yield f"{self.kind} {self.target} ({self.framework}): {self.outcome.headline}"
        if diverges and self.first_difference is not None:
            yield f"  first difference: {self.first_difference.tensor}"
        for cause in self.causes():
            yield f"  {cause}"
        if self.formula:
            yield f"  right form: {self.formula}"
        if self.relative_difference is not None and self.outcome != CONFORMS:
            yield f"  difference on typical weights: {self.relative_difference:.2g} of the largest value"
        yield from self._table()
        if self.snippet is not None:
            yield "  a program that shows it:"
            yield from (f"    | {line}".rstrip() for line in self.snippet.splitlines())
        elif self.counterexample is not None:
            text = json.dumps(finite_json(self.counterexample), allow_nan=False)
            cut = text if len(text) <= LONGEST_EXAMPLE else f"{text[:LONGEST_EXAMPLE]} … (whole with --json)"
            yield f"  smallest counterexample: {cut}"
        for note in self.notes:
            yield f"  note: {note}"

    def _what_is_unexplained(self):
        nearest = f"; the nearest is: {' with '.join(self.nearest)}" if self.nearest else ""
        yield f"no known form reproduces it{nearest}"
        for variants, names in self.partly:
            yield f"explained by {variants}: {', '.join(names)}"
        if self.partly:
            yield f"unexplained: {', '.join(self.unexplained) or 'what these have in common'}"

    def _table(self):
        if self.differences:
            yield f"  {'tensor':32} {'error':>12} {'allowed':>12}   in epsilons of {self.precision}, " \
                  f"{self.examples} input cases"
        for difference in self.differences:
            mark = "" if difference.agrees else "   <-"
            yield f"  {difference.tensor:32} {difference.error_eps:12.3g} {difference.allowed_eps:12.3g}{mark}"

    def __str__(self):
        return "\n".join(self.lines())

    def as_json(self) -> dict[str, Any]:
        """Everything as values that JSON has; numbers that are not finite are "Infinity", "-Infinity" and "NaN"."""
        return finite_json({**dataclasses.asdict(self), "passed": self.passed, "formula": self.formula})


def finite_json(value: Any) -> Any:
    """`value` with every float that JSON cannot hold as its name: "Infinity", "-Infinity" or "NaN"."""
    if isinstance(value, dict):
        return {key: finite_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            return "NaN"
        return "Infinity" if value > 0.0 else "-Infinity"
    return value
