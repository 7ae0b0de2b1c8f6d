"""metrics.jsonl: one JSON object for each evaluation, a line each."""

import json
import os
from collections.abc import Iterator
from typing import Any

from ..errors import InputError
from ..files import atomic_write

NEEDED = ("epoch", "step", "train_loss", "test_loss", "test_accuracy")  # numbers of every line; others are dropped


def checked_trained(entry: Any) -> dict[str, Any]:
    """The entry of an epoch that is trained and not evaluated, as a checkpoint has it; InputError if it is none."""
    needed = [key for key in NEEDED if not key.startswith("test_")]
    if not isinstance(entry, dict) or (entry and not all(isinstance(entry.get(key), (int, float)) for key in needed)):
        raise InputError("checkpoint: its progress has no usable entry of the epoch that is to be evaluated")
    return entry


class MetricsFile:
    """The evaluations of a run, in memory as `.entries` and on disk at `path`."""

    def __init__(self, path: str, up_to_step: int | None = None) -> None:
        """Start an empty file or, when resuming, keep the entries up to `up_to_step`; an incomplete line is dropped."""
        self.path = path
        self.entries: list[dict[str, Any]] = []
        if up_to_step is not None and os.path.exists(path):
            try:
                self.entries = [entry for entry in _readable_lines(path) if entry["step"] <= up_to_step]
            except OSError as error:
                raise InputError(f"cannot read {path}: {error.strerror or error}") from None
        atomic_write(path, "".join(json.dumps(entry) + "\n" for entry in self.entries).encode())

    def append(self, entry: dict[str, Any]) -> None:
        """Add one evaluation, on the disk when this returns; InputError when it cannot be written."""
        self.entries.append(entry)
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(entry, allow_nan=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror or error}") from None


def _readable_lines(path: str) -> Iterator[dict[str, Any]]:
    """The entries of the file's lines; lines that are not entries are left out."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and all(isinstance(entry.get(key), (int, float)) for key in NEEDED):
                yield entry
