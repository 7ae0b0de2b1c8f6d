"""The rules of --keep and --early-stop: which epochs' checkpoints are kept, and how evaluations are ranked."""

import dataclasses
import re
from typing import Any

from ..errors import InputError

Entry = dict[str, Any]  # a line of metrics.jsonl


@dataclasses.dataclass(frozen=True)
class Keep:
    """A rule for keeping checkpoints. kind: "best", "last" or "all"; count: how many, of "all" it is not used."""

    kind: str
    count: int = 1

    def epochs(self, entries: list[Entry]) -> list[int]:
        """The epochs to be kept after the evaluations `entries`; with "best", the best one first."""
        if self.kind == "best":
            return [entry["epoch"] for entry in ranked(entries)[:self.count]]
        epochs = [entry["epoch"] for entry in entries]
        return epochs if self.kind == "all" else epochs[-self.count:]


def parsed_keep(text: str) -> Keep:
    """The rule that "best", "best:3", "last:5" or "all" means; InputError for anything else."""
    parts = re.fullmatch(r"(best|last)(?::([1-9][0-9]{0,5}))?|all", text)
    if parts is None:
        raise InputError(f"--keep {text}: expected best:N, last:N, all or off")
    return Keep(parts[1] or "all", int(parts[2] or 1))


def score(entry: Entry) -> float:
    """The test accuracy of the averaged weights, if the run has any, else that of the weights."""
    return float(entry["ema_test_accuracy" if "ema_test_accuracy" in entry else "test_accuracy"])


def ranked(entries: list[Entry]) -> list[Entry]:
    """The evaluations from the best to the worst; of equal ones, the earlier one first."""
    return sorted(entries, key=lambda entry: (-score(entry), entry["epoch"]))


def epochs_without_improvement(entries: list[Entry]) -> int:
    """How many evaluations came after the best one."""
    return len(entries) - 1 - entries.index(ranked(entries)[0]) if entries else 0
