"""What a bench found: sections of rows, printed as they come and kept in a JSON file that is always whole."""

import contextlib
import datetime
import gc
import json
import math
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import tqdm

from ..cli import progress_bar
from ..errors import InputError
from ..files import atomic_write
from . import table
from .timing import one_line

FORMAT = 1


class Section:
    """One part of a report: rows (dicts of plain values), notes (lines), and what stopped it, if anything did."""

    def __init__(self, name: str, title: str) -> None:
        self.name, self.title = name, title
        self.rows: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.failure: str | None = None
        self.seconds = 0.0

    def add(self, **facts: Any) -> dict[str, Any]:
        """Keep a row and return it."""
        self.rows.append(facts)
        return facts

    def note(self, text: str) -> None:
        """Keep a line and print it."""
        self.notes.append(text)
        say("\n".join(table.wrapped(text)))

    def show(self, columns: Sequence[table.Column], rows: list[dict[str, Any]] | None = None) -> None:
        """Print these rows (all of the section's by default) as a table."""
        rows = self.rows if rows is None else rows
        if rows:
            say("\n".join("  " + line for line in table.lines(rows, columns)))


class Report:
    """Sections by name. path: where the JSON goes after every section, or None; facts: about machine and options."""

    def __init__(self, path: str | None, **facts: Any) -> None:
        self.path = path
        self.sections: dict[str, Section] = {}
        self.targets: list[dict[str, Any]] = []
        self.facts = {"format": FORMAT, "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
                      **facts}

    @contextlib.contextmanager
    def section(self, name: str, title: str) -> Iterator[Section]:
        """Context that measures one part. An error in it becomes one line, and the run goes on with the next part."""
        section = self.sections[name] = Section(name, title)
        say(f"\n{title}")
        started = time.perf_counter()
        try:
            yield section
        except Exception as error:
            section.failure = one_line(error)
            say("\n".join(table.wrapped(f"stopped: {section.failure}")))
        gc.collect()  # what failed may have memory that the next part needs
        section.seconds = time.perf_counter() - started
        try:
            self.write()
        except InputError as error:  # there is more to measure and to print, and another chance to write
            say("\n".join(table.wrapped(str(error))))

    @classmethod
    def restored(cls, path: str | None, found: dict[str, Any]) -> "Report":
        """The report that `as_dict` gave earlier; `found` has been checked."""
        facts = {key: value for key, value in found.items() if key not in ("targets", "sections")}
        report = cls(path, **facts)
        for name, kept in found["sections"].items():
            section = report.sections[name] = Section(name, kept["title"])
            section.rows, section.notes = kept["rows"], kept["notes"]
            section.failure, section.seconds = kept["failure"], kept["seconds"]
        return report

    def rows(self, section: str, **wanted: Any) -> list[dict[str, Any]]:
        """The rows of a section that have all the values `wanted`; none where there is no such section."""
        rows = self.sections[section].rows if section in self.sections else []
        return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]

    def judge(self, targets: list[dict[str, Any]]) -> None:
        """Keep and print the `targets`, judged: dicts with name, value, target and result."""
        self.targets = targets
        say("\nTargets")
        shown: list[table.Column] = [
            ("target", "name", ""), ("wanted", "target", ""), ("measured", "value", ".3g"), ("", "result", "")]
        say("\n".join("  " + line for line in table.lines(targets, shown)))
        self.write()

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return {**self.facts, "targets": self.targets, "sections": {
            name: {"title": section.title, "rows": section.rows, "notes": section.notes, "failure": section.failure,
                   "seconds": section.seconds} for name, section in self.sections.items()}}

    def write(self) -> None:
        """Write the JSON file, if one is wanted."""
        if self.path is not None:
            atomic_write(self.path, (json.dumps(_plain(self.as_dict()), indent=1, allow_nan=False) + "\n").encode())


def _plain(value):
    """The same with numbers that JSON does not have, infinities and NaN, as text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def watched(items: Collection, title: str) -> Iterator:
    """The items one by one, with a progress bar on a terminal."""
    return progress_bar(items, desc=f"  {title}", bar_format="{desc} |{bar:20}| {n_fmt}/{total_fmt}")


def say(text: str) -> None:
    """Print a text, clear of any progress bar."""
    tqdm.tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()
