"""A verdict for a terminal, and as JSON."""

import json

from ..files import atomic_write
from .verdict import CONFORMS, DIVERGES, VARIANT

HEADLINES = {CONFORMS: "conforms", VARIANT: "conforms as a named variant", DIVERGES: "DIVERGES"}


def lines(verdict):
    """The verdict as lines of text."""
    yield f"{verdict.kind} {verdict.target} ({verdict.framework}): {HEADLINES[verdict.outcome]}"
    first = verdict.first_difference
    if first is not None and verdict.outcome == DIVERGES:
        yield f"  first difference: {first.tensor}"
    for name, sentence in zip(verdict.diagnosis, verdict.explanation):
        yield f"  {'because' if verdict.outcome == DIVERGES else 'namely'}: {name}. {sentence}"
    if verdict.outcome == DIVERGES and not verdict.diagnosis:
        yield "  no known form reproduces it" + (f"; the nearest is: {' with '.join(verdict.nearest)}"
                                                 if verdict.nearest else "")
    if verdict.size is not None and verdict.outcome != CONFORMS:
        yield f"  difference on typical weights: {verdict.size:.2g} of the largest value"
    if verdict.differences:
        yield f"  {'tensor':32} {'error':>12} {'allowed':>12}   in epsilons of {verdict.precision}, " \
              f"{verdict.examples} problems"
        for difference in verdict.differences:
            yield f"  {difference.tensor:32} {difference.error:12.3g} {difference.allowed:12.3g}" \
                  + ("" if difference.agrees else "   <-")
    if verdict.counterexample is not None:
        text = json.dumps(verdict.counterexample)
        yield "  smallest counterexample: " + (text if len(text) <= 400 else text[:400] + " … (whole with --json)")
    for note in verdict.notes:
        yield f"  note: {note}"


def write_json(path, verdict):
    """Write the verdict to `path`, whole or not at all."""
    atomic_write(path, json.dumps(verdict.as_json(), indent=1, default=str).encode())
