"""The folder of a run: its files, its lock, and the rule for when a new run may use it."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from typing import IO, Any

from ..errors import InputError
from ..files import remove_unfinished, try_lock
from .options import TrainingOptions

CHECKPOINT = "checkpoint.safetensors"
METRICS = "metrics.jsonl"
CURVES = "curves.png"
CONFIG = "config.toml"
INVENTORY = "inventory.tsv.gz"
PREVIOUS = "previous.safetensors"  # the last checkpoint, while the weights after it are evaluated
BEST = "best.safetensors"
BAD_IMAGES = "bad_images.txt"
LOCK = "run.lock"  # JSON: options and process; exists during a run, and after a run that left no checkpoint


class RunFolder:
    """The folder at `path`.

    A run that was killed or failed before its first checkpoint leaves run.lock without a lock on it. A new run may then
    use the folder.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def file(self, name: str) -> str:
        """The path of the file `name`."""
        return os.path.join(self.path, name)

    def has(self, name: str) -> bool:
        """Whether there is a file `name`."""
        return os.path.exists(self.file(name))

    def remove(self, name: str) -> None:
        """Remove the file `name`, if there is one."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.file(name))

    def refuse_another_run(self) -> None:
        """InputError if a new run would destroy files of another one."""
        there = [name for name in (CHECKPOINT, BEST, METRICS, CURVES) if self.has(name)]
        is_unfinished = self.has(LOCK) and not self.has(CHECKPOINT)
        if there and not is_unfinished:
            raise InputError(f"--out {self.path}: {there[0]} of another run is there already; --resume continues it, "
                             f"another --out starts anew")

    def facts_of_unfinished_run(self) -> dict[str, Any]:
        """The "options" of a run that ended before its first checkpoint, and its process; InputError without one."""
        try:
            with open(self.file(LOCK), encoding="utf-8") as file:
                facts = json.load(file)
                facts["options"]
        except FileNotFoundError:
            raise InputError(f"--resume --out {self.path}: there is no {CHECKPOINT} and no run to resume; without "
                             f"--resume a new run starts") from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise InputError(f"--resume --out {self.path}: there is no {CHECKPOINT}, and {LOCK} cannot be read; "
                             f"without --resume the run starts anew") from None
        return facts

    @contextlib.contextmanager
    def locked(self, options: TrainingOptions, resume: bool, is_chosen_here: bool) -> Iterator[None]:
        """Context in which the folder exists and no other run can use it.

        is_chosen_here: the name was chosen because no such folder existed, so it is an error if one exists now.
        InputError while another run uses the folder, and, unless `resume`, if it has the files of another run.
        """
        try:
            os.makedirs(self.path, exist_ok=not is_chosen_here)
            file = self._open_lock()
        except OSError as error:
            raise InputError(f"--out {self.path}: cannot make the folder: {error.strerror}") from None
        with file:
            if not resume:
                self.refuse_another_run()
            self._write_lock(file, options)
            try:
                yield
            finally:
                if self.has(CHECKPOINT):
                    with contextlib.suppress(OSError):  # Windows cannot remove an open file
                        os.unlink(self.file(LOCK))

    def _write_lock(self, file: IO[bytes], options: TrainingOptions) -> None:
        """Write options and process to the lock file, and remove temporary files of a killed process."""
        try:
            remove_unfinished(self.path)
            file.truncate(0)
            file.write(json.dumps({"process": os.getpid(), "options": dataclasses.asdict(options)}).encode())
        except OSError as error:
            raise InputError(f"--out {self.path}: cannot write {LOCK}: {error.strerror}") from None

    def _open_lock(self) -> IO[bytes]:
        """The lock file, opened and locked."""
        while True:
            file = open(self.file(LOCK), "a+b", buffering=0)
            file.seek(0)
            if not try_lock(file):
                with file:
                    raise InputError(f"--out {self.path}: process {_process(file)} is training there at this moment")
            if self.has(LOCK) and os.path.samestat(os.fstat(file.fileno()), os.stat(self.file(LOCK))):
                return file
            file.close()  # between opening and locking, another run finished and removed the file


def _process(file: IO[bytes]) -> object:
    """The process number in a lock file, or, if it cannot be read, words in its place."""
    try:
        return json.load(file)["process"]
    except (OSError, ValueError, KeyError, TypeError):
        return "of another run"


def short_name(data: str) -> str:
    """NAME of the data "NAME", "idx:…/NAME" or "folder:…/NAME"."""
    return os.path.basename(os.path.abspath(data.rpartition(":")[2])) or "data"


def default_folder(data: str, resume: bool) -> str:
    """runs/NAME for data NAME, or the next free runs/NAME-2, -3 …; when resuming, the last one that exists."""
    base = os.path.join("runs", short_name(data))
    taken = None
    name = base
    number = 1
    while os.path.exists(name):
        taken = name
        number += 1
        name = f"{base}-{number}"
    return taken if resume and taken else name
