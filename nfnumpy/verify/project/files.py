"""The Python sources of a folder: files and notebooks, read as text. Nothing is executed, no symbolic link followed."""

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ...errors import InputError

SKIPPED = {"__pycache__", "node_modules", "site-packages", "dist-packages", "build", "dist", "venv", "env",
           "virtualenv", "wheels", "wandb", "checkpoints"}
LARGEST = 2**21  # bytes of a file: more is generated code or data
LARGEST_NOTEBOOK = 2**24  # pictures included
MOST_FILES = 20_000
DEEPEST = 60  # folders


@dataclasses.dataclass(frozen=True)
class Source:
    """path: relative to the folder, with slashes; text: the Python code; is_notebook: whether it is of its cells;
    raw: the file's text.
    """

    path: str
    text: str
    is_notebook: bool
    raw: str


@dataclasses.dataclass(frozen=True)
class Unread:
    """A file that was not read, and why."""

    path: str
    why: str


def sources(folder: str | os.PathLike[str]) -> Iterator[Source | Unread]:
    """Every Python file and notebook under `folder` in order of their paths; InputError where it is no folder.

    Left out: hidden folders, virtual environments, build folders, installed packages, symbolic links.
    """
    if not os.path.isdir(folder):
        raise InputError(f"project: there is no folder {os.fspath(folder)}")
    count = 0
    for path in _paths(os.fspath(folder)):
        count += 1
        name = Path(os.path.relpath(path, folder)).as_posix()
        if count > MOST_FILES:
            yield Unread(name, f"it comes after {MOST_FILES} other files")
            return
        yield _read(path, name)


def _paths(folder):
    """The paths of Python files and notebooks."""
    waiting = [(folder, 0)]
    while waiting:
        folder, depth = waiting.pop()
        try:
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError:
            continue
        folders = []
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    if depth < DEEPEST and not _is_skipped(entry):
                        folders.append((entry.path, depth + 1))
                elif entry.name.endswith((".py", ".ipynb")) and entry.is_file(follow_symlinks=False):
                    yield entry.path
            except OSError:
                continue
        waiting.extend(reversed(folders))


def _is_skipped(entry):
    return (entry.name in SKIPPED or entry.name.startswith(".") or entry.name.endswith(".egg-info")
            or os.path.lexists(os.path.join(entry.path, "pyvenv.cfg")))


def _read(path, name):
    is_notebook = name.endswith(".ipynb")
    try:
        with open(path, "rb") as file:
            content = file.read((LARGEST_NOTEBOOK if is_notebook else LARGEST) + 1)
    except OSError as error:
        return Unread(name, error.strerror or "it cannot be read")
    if len(content) > (LARGEST_NOTEBOOK if is_notebook else LARGEST):
        return Unread(name, "it is too large to be written by hand")
    text = content.decode("utf-8-sig", errors="replace")
    if not is_notebook:
        return Source(name, text, False, text)
    try:
        return Source(name, _code_of(json.loads(text)), True, text)
    except (ValueError, RecursionError, TypeError, AttributeError):
        return Unread(name, "it is no notebook")


def _code_of(notebook):
    """The code of all cells; lines that are commands of the notebook are blank."""
    lines = []
    for cell in notebook["cells"] if isinstance(notebook.get("cells"), list) else ():
        if cell.get("cell_type") == "code":
            text = cell.get("source", "")
            for line in (text if isinstance(text, str) else "".join(map(str, text))).splitlines():
                lines.append("" if line.lstrip().startswith(("%", "!", "?")) or line.rstrip().endswith("?") else line)
            lines.append("")
    return "\n".join(lines)
