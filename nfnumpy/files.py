"""Writing files whole or not at all, and file locks that end with their process."""

import contextlib
import os
import re
import secrets
import shutil
import stat
import sys
from typing import IO, Any

from .errors import InputError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

BEYOND_CONTENT = 2**30  # bytes; Windows denies reading a locked byte, so the locked one lies where no content is
STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}
TEMPORARY = re.compile(r"\.[0-9a-f]{24}\.unfinished")
DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")


def atomic_write(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to the file at `path`, whole or not at all; when that fails, InputError, and the file is kept.

    The content goes to a new file in the same folder, is flushed to the disk, and replaces the file in one step.
    Symbolic links are followed and the permissions of an existing file are kept. What is no regular file (a device, a
    pipe, /dev/stdout) is written to, never replaced.
    """
    path = os.fspath(path)
    try:
        descriptor = _descriptor(path)
        status = _status(path)
        if descriptor is not None:
            _write_to_descriptor(descriptor, content)
        elif status is not None and not stat.S_ISREG(status.st_mode):
            with open(path, "wb") as file:
                file.write(content)
        else:
            _replace(os.path.realpath(path), content, status)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write {path}: {reason}; what was there is untouched") from None


def can_write(path: str | os.PathLike[str]) -> bool:
    """Whether `atomic_write` may write to `path`, for commands that compute for a long time before they write."""
    path = os.fspath(path)
    if _descriptor(path) is not None:
        return True
    if os.path.exists(path) and not os.path.isfile(path):
        return not os.path.isdir(path) and os.access(path, os.W_OK)
    return os.access(os.path.dirname(os.path.realpath(path)), os.W_OK)


def check_writable(option: str, path: str | None) -> None:
    """InputError naming the command-line `option`, unless `path` can be written or is None (no file is wanted)."""
    if path is not None and not can_write(path):
        raise InputError(f"{option} {path}: there is no such folder, or nothing may be written there")


def _status(path: str) -> os.stat_result | None:
    """The status of the file that `path` leads to; None if there is no such file."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _descriptor(path: str) -> int | None:
    """The open descriptor of this process that `path` names, also where it leads to a regular file; else None."""
    named = DESCRIPTOR.fullmatch(path)
    return int(named[1]) if named else STREAMS.get(path)


def _write_to_descriptor(descriptor: int, content: bytes) -> None:
    """Write to an open descriptor at its position. A file opened by its name would be written from its start."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()  # what was printed before comes first
    with open(os.dup(descriptor), "wb") as file:
        file.write(content)


def _replace(target: str, content: bytes, status: os.stat_result | None) -> None:
    """Replace the file `target` by one with the content `content`. status: of `target`, None if it does not exist."""
    mode = 0o666 if status is None else stat.S_IMODE(status.st_mode)
    # A random name that must be new: no other writer uses it, and no symbolic link can have been placed there.
    temporary = os.path.join(os.path.dirname(target), f".{secrets.token_hex(12)}.unfinished")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            if status is not None:
                _copy_permissions(temporary, status)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    with contextlib.suppress(OSError):  # not every system can flush a folder; the file itself is safe
        _flush_folder(os.path.dirname(target))


def link_or_copy(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Give the file `source` the second name `target` in the same folder, in one step; InputError if that fails.

    A hard link, which costs no space, where the file system has them, else a copy. A file `target` is replaced.
    """
    source, target = os.fspath(source), os.fspath(target)
    temporary = os.path.join(os.path.dirname(target), f".{secrets.token_hex(12)}.unfinished")
    try:
        if os.path.exists(target) and os.path.samefile(source, target):
            return  # renaming one name of a file to another one does nothing
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copy(source, temporary)
        os.replace(temporary, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise InputError(f"cannot write {target}: {error.strerror or error}") from None


def remove_unfinished(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files that killed processes left in `folder`. No other process may be writing there."""
    with os.scandir(folder) as entries:
        left = [entry.path for entry in entries if TEMPORARY.fullmatch(entry.name)]
    for path in left:
        os.unlink(path)


def _copy_permissions(path: str, status: os.stat_result) -> None:
    """Give the file at `path` the mode of `status` and, if the process is allowed to, its owner."""
    if hasattr(os, "chown"):
        with contextlib.suppress(OSError):
            os.chown(path, status.st_uid, status.st_gid)
    os.chmod(path, stat.S_IMODE(status.st_mode))  # after chown, which clears some of the bits


def _flush_folder(folder: str) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def try_lock(file: IO[Any]) -> bool:
    """Lock the open `file` against every other opening of it; False if another one holds the lock.

    The lock ends when `file` is closed or the process ends for any reason. On a file system without locks the result
    is always True.
    """
    try:
        if sys.platform == "win32":
            file.seek(BEYOND_CONTENT)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        pass  # this file system has no locks
    return True
