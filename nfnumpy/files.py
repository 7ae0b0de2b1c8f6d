"""Writing a file so that there is always a whole one: the old, or the new."""

import contextlib
import os

from .errors import InputError


def atomic_write(path, content):
    """Write the bytes `content` to `path`, whole or not at all; InputError when that fails, and `path` is as it was.

    They go to another name beside it, are flushed to the disk, and take the name's place in one step.
    """
    path = os.fspath(path)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.unfinished")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise InputError(f"cannot write {path}: {error.strerror or error}; what was there is untouched") from None
    with contextlib.suppress(OSError):  # not every system can flush a folder; the file itself is safe
        _flush_folder(folder or ".")


def _flush_folder(folder):
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
