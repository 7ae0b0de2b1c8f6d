"""The metrics in other forms: metrics.csv, and event files for TensorBoard.

Both are written from the entries of metrics.jsonl, so that those of a resumed run are complete.

Used by: metrics.py, run.py. Test: reference_tests/training/test_metrics_tables.py.
"""

import contextlib
import csv
import glob
import io
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import InputError
from ..files import atomic_write
from .options import TrainingOptions

CSV = "metrics.csv"
EVENTS = "tensorboard"  # a folder
EVENT_FILES = "events.out.tfevents.*.nfnumpy"  # TensorBoard reads names with "tfevents"
VERSION = "brain.Event:2"  # of the format

Entry = dict[str, Any]


def check_tables(options: TrainingOptions) -> None:
    """InputError if the options want event files and TensorBoard is not installed."""
    if options.tensorboard == "on":
        _tensorboard()


class MetricsTables:
    """The tables that the options of a run want, in its folder at `path`, for the entries that it begins with."""

    def __init__(self, path: str, options: TrainingOptions, entries: Sequence[Entry]) -> None:
        self._csv = os.path.join(path, CSV) if options.csv == "on" else None
        self._events = EventFile(os.path.join(path, EVENTS), entries) if options.tensorboard == "on" else None
        self._write_csv(entries)

    def append(self, entries: Sequence[Entry]) -> None:
        """Write what the last of all entries adds."""
        self._write_csv(entries)
        if self._events is not None:
            self._events.append(entries[-1])

    def _write_csv(self, entries: Sequence[Entry]) -> None:
        if self._csv is not None and entries:
            atomic_write(self._csv, csv_of(entries).encode())


def flat(entry: Entry) -> Iterator[tuple[str, float]]:
    """(name, number) of the values of an entry; those of a dict inside it are called name/key."""
    for name, value in entry.items():
        if isinstance(value, dict):
            yield from ((f"{name}/{key}", number) for key, number in value.items())
        elif value is not None:
            yield name, value


def csv_of(entries: Sequence[Entry]) -> str:
    """A row for each entry, under a header of all names; what an entry does not have is empty."""
    names = list(dict.fromkeys(name for entry in entries for name, _ in flat(entry)))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dict(flat(entry)) for entry in entries)
    return text.getvalue()


class EventFile:
    """An event file with a scalar for each number of each entry, at the entry's step; it replaces those of the folder.

    TensorBoard may read it meanwhile: entries are appended. InputError when it cannot be written.
    """

    def __init__(self, folder: str, entries: Sequence[Entry]) -> None:
        name = EVENT_FILES.replace("*", f"{time.time_ns()}.{os.getpid()}")
        self.path = os.path.join(folder, name)
        with self._errors():
            os.makedirs(folder, exist_ok=True)
        earlier = glob.glob(os.path.join(glob.escape(folder), EVENT_FILES))
        events, _ = _tensorboard()
        first = events.Event(file_version=VERSION, wall_time=time.time())
        atomic_write(self.path, b"".join(map(_record, (first, *map(_event, entries)))))
        with self._errors():
            for path in earlier:
                os.unlink(path)

    def append(self, entry: Entry) -> None:
        """Add an entry, on the disk when this returns."""
        with self._errors(), open(self.path, "ab") as file:
            file.write(_record(_event(entry)))
            file.flush()
            os.fsync(file.fileno())

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror or error}") from None


def _event(entry: Entry) -> Any:
    """The scalars of an entry as a message of TensorBoard's."""
    events, summaries = _tensorboard()
    values = [summaries.Summary.Value(tag=name, simple_value=float(number)) for name, number in flat(entry)
              if name != "step"]
    return events.Event(step=entry["step"], wall_time=time.time(), summary=summaries.Summary(value=values))


def _record(message: Any) -> bytes:
    """A message with its length and checksums, as event files have it."""
    from tensorboard.summary.writer.record_writer import RecordWriter
    content = io.BytesIO()
    RecordWriter(content).write(message.SerializeToString())
    return content.getvalue()


def _tensorboard() -> tuple[Any, Any]:
    """TensorBoard's modules of messages: of events, and of summaries; InputError where it is not installed."""
    try:
        from tensorboard.compat.proto import event_pb2, summary_pb2
    except ImportError:
        raise InputError("--tensorboard on: TensorBoard is not installed; install it with: "
                         "pip install 'nfnumpy[tensorboard]'") from None
    return event_pb2, summary_pb2
