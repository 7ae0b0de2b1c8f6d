"""A folder for files that are moved to their final names together, once all of them are whole.

Used by: folder_writer.py, shards/export.py. Test: reference_tests/datasets/test_shard_writer.py.
"""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..files import try_lock

NAME = re.compile(r"\.[0-9a-f]{24}\.unfinished")
LOCK = "lock"


@contextlib.contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """A new hidden folder in `target`, to write in; removed with what is in it at the end of the block.

    Folders that killed processes left are removed before. OSError where the file system refuses.
    """
    remove_abandoned(target)
    folder, lock = _new_folder(target)
    try:
        with lock:
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _new_folder(target: Path) -> tuple[Path, IO[str]]:
    """A new staging folder and its lock, held.

    Before the lock is held, another writer may take the folder for an abandoned one and remove it: then a new one is
    made.
    """
    while True:
        folder = target / f".{secrets.token_hex(12)}.unfinished"
        folder.mkdir()
        with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as opened:
            lock = opened.enter_context(open(folder / LOCK, "w"))
            if try_lock(lock) and os.path.samestat(os.fstat(lock.fileno()), os.stat(folder / LOCK)):
                opened.pop_all()
                return folder, lock


def remove_abandoned(target: Path) -> None:
    """Remove the staging folders in `target` whose process has ended."""
    for folder in target.iterdir():
        if not NAME.fullmatch(folder.name) or not folder.is_dir():
            continue
        with contextlib.suppress(OSError), open(folder / LOCK, "a") as lock:
            if try_lock(lock):
                shutil.rmtree(folder, ignore_errors=True)


def move_into_place(folder: Path, target: Path) -> None:
    """Move every file of a staging folder to `target`, where it replaces a file of its name."""
    for path in sorted(folder.iterdir()):
        if path.name != LOCK:
            os.replace(path, target / path.name)
