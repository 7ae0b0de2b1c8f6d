"""What verify says of one case of the audit, and the figures of many."""

import dataclasses
import time
from collections.abc import Iterable

from nfnumpy import InputError
from nfnumpy.verify import DIVERGES, check
from reference_tests.audit.registry import Case

EXAMPLES = 2  # drawn beside the fixed input cases
OF_KERAS = {"keras": "tensorflow"}


@dataclasses.dataclass(frozen=True)
class Result:
    """key: the case's; is_planted: whether a mistake was planted; wanted: the names that verify should give; outcome,
    diagnosis, framework: the verdict's, an empty outcome where there is none; said: why it is a miss; seconds: taken.
    """

    key: str
    is_planted: bool
    wanted: tuple[str, ...]
    outcome: str
    diagnosis: tuple[str, ...]
    framework: str
    said: str
    seconds: float

    @property
    def is_detected(self) -> bool:
        """Whether a verdict says that the target is wrong."""
        return self.outcome == DIVERGES

    @property
    def is_named(self) -> bool:
        """Whether the diagnosis is exactly what was planted, or for a right target exactly its form."""
        return bool(self.outcome) and set(self.diagnosis) == set(self.wanted)

    @property
    def is_miss(self) -> bool:
        """Whether anything is not as it should be."""
        return not (self.is_named and self.is_detected == self.is_planted
                    and OF_KERAS.get(self.framework, self.framework) == self.key.split("/")[1])


def result_of(case: Case, examples: int = EXAMPLES) -> Result:
    """Check one case."""
    start = time.process_time()
    target, options = case.make()
    try:
        verdict = check(case.kind, target, **{"examples": examples, **options})
    except InputError as error:
        outcome, diagnosis, framework, said = "", (), "", str(error)
    else:
        outcome, diagnosis, framework = str(verdict.outcome), verdict.diagnosis, verdict.framework
        said = "; ".join(verdict.causes()) or str(verdict.outcome)
    result = Result(case.key, case.is_planted, tuple(sorted(case.causes or case.forms)), outcome, diagnosis, framework,
                    said, time.process_time() - start)
    return result if result.is_miss else dataclasses.replace(result, said="")


COLUMNS = ("planted", "of these double", "triple", "detected", "named", "right", "false alarms", "seconds")


def figures(results: Iterable[Result]) -> tuple[int, ...]:
    """The COLUMNS of some results."""
    results = list(results)
    wrong = [result for result in results if result.is_planted]
    right = [result for result in results if not result.is_planted]
    return (len(wrong), sum(len(result.wanted) == 2 for result in wrong),
            sum(len(result.wanted) > 2 for result in wrong), sum(result.is_detected for result in wrong),
            sum(result.is_named for result in wrong), len(right),
            sum(result.is_detected or not result.outcome for result in right),
            round(sum(result.seconds for result in results)))


def table(results: Iterable[Result]) -> str:
    """A Markdown table: a row for each kind and framework, then sums by kind, by framework and of all."""
    results = list(results)
    cells: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        kind, framework, _ = result.key.split("/", 2)
        for cell in ((kind, framework), (kind, "all"), ("all", framework), ("all", "all")):
            cells.setdefault(cell, []).append(result)
    rows = [f"| kind | framework | {' | '.join(COLUMNS)} |", "|---|---|" + "---:|" * len(COLUMNS)]
    for cell in sorted(cells, key=lambda cell: ("all" in cell, cell[0] == "all", cell)):
        rows.append(f"| {' | '.join((*cell, *map(str, figures(cells[cell]))))} |")
    return "\n".join(rows)
