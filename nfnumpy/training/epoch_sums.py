"""What a run adds up over the steps of an epoch: kept in checkpoints, so that a resumed epoch has the same means.

Used by: training/epochs.py. Test: reference_tests/training/test_epoch_sums.py.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from .step_metrics import StepValues

REQUIRED = ("loss", "correct", "clipped")  # the others are newer than the first checkpoints


@dataclasses.dataclass
class EpochSums:
    """Sums over the current epoch's steps.

    gradient_norm: over `measured` steps; clipped_counts: for each parameter, in the optimizer's order, over `counted`
    steps. A checkpoint that is older than these leaves fewer steps to them than the epoch has.
    """

    loss: float = 0.0
    correct: int = 0
    clipped: float = 0.0
    gradient_norm: float = 0.0
    measured: int = 0
    clipped_counts: list[int] = dataclasses.field(default_factory=list)
    counted: int = 0

    def add(self, values: StepValues) -> None:
        """Add a step's values."""
        self.loss += values.loss
        self.correct += values.correct
        self.clipped += values.clipped
        if values.gradient_norm is not None and math.isfinite(values.gradient_norm):  # float16 may overflow
            self.gradient_norm += values.gradient_norm
            self.measured += 1
        before = self.clipped_counts or [0] * len(values.clipped_counts)
        self.clipped_counts = [sum(pair) for pair in zip(before, values.clipped_counts, strict=True)]
        self.counted += 1

    def means(self, steps: int, batch_size: int, units_of: Mapping[str, int]) -> dict[str, Any]:
        """Entries of the metrics for an epoch of so many steps. units_of: see SGD."""
        entry: dict[str, Any] = {"train_loss": self.loss / steps, "train_accuracy": self.correct / (steps * batch_size),
                                 "clipped_fraction": self.clipped / steps}
        if self.measured:
            entry["gradient_norm"] = self.gradient_norm / self.measured
        if self.counted and any(units_of.values()):
            entry["clipped_by_parameter"] = {
                name: count / (units * self.counted)
                for count, (name, units) in zip(self.clipped_counts, units_of.items(), strict=True) if units}
        return entry

    def as_progress(self) -> dict[str, Any]:
        """The sums in JSON's types, for `restored`."""
        return dataclasses.asdict(self)


def restored(progress: Mapping[str, Any]) -> EpochSums:
    """The sums in a checkpoint's progress; InputError if they are unusable."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(EpochSums):
        name = field.name
        value = progress.get(name)
        if value is None and name not in REQUIRED:
            continue
        is_counts = isinstance(value, list) and all(type(count) is int for count in value)
        if not (is_counts if name == "clipped_counts" else type(value) in (int, float)):
            raise InputError(f"checkpoint: its progress has no usable {name!r}")
        found[name] = value
    return EpochSums(**found)
