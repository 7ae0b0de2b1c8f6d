"""What a check found, in a form that a terminal, a JSON file, a page and a test can all use."""

import dataclasses

CONFORMS, VARIANT, DIVERGES = "conforms", "conforms as a named variant", "diverges"


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far one tensor of the target lies from the reference, at its worst over all problems tried.

    tensor: its name, in the order of the computation; error and allowed in units of the precision's epsilon, relative
    to the tensor's largest magnitude; relative: the error itself, relative to that.
    """

    tensor: str
    error: float
    allowed: float
    relative: float

    @property
    def agrees(self):
        """Whether rounding explains it."""
        return self.error <= self.allowed


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The outcome of one check of one target.

    outcome: CONFORMS, VARIANT or DIVERGES; diagnosis: names of the catalogue's entries that together reproduce the
    target, empty if it conforms or nobody knows why it does not; explanation: a sentence for each; nearest: the entries
    that come nearest when none reproduces it; counterexample: the smallest problem found that shows it, as plain lists;
    size: of the difference on typical weights, relative; notes: what else a reader should know.
    """

    kind: str
    target: str
    framework: str
    outcome: str
    precision: str
    examples: int
    differences: tuple = ()
    diagnosis: tuple = ()
    explanation: tuple = ()
    nearest: tuple = ()
    counterexample: dict | None = None
    size: float | None = None
    notes: tuple = ()

    @property
    def first_difference(self):
        """The first tensor of the computation that rounding does not explain, or None."""
        return next((difference for difference in self.differences if not difference.agrees), None)

    @property
    def passed(self):
        """Whether the target conforms, be it as a variant."""
        return self.outcome != DIVERGES

    def __str__(self):
        from .report import lines
        return "\n".join(lines(self))

    def as_json(self):
        """Everything as what JSON can hold."""
        return {**dataclasses.asdict(self), "passed": self.passed}
