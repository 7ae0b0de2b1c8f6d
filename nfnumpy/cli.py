"""Shared by all commands: an error is one line, and the exit status gives its kind."""

import argparse
import errno
import os
import sys
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import tqdm

from .errors import InputError, Terminated

BAD_INPUT = 2
UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h: a mistake in nfnumpy, not a result and not bad input
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
TERMINATED = 143  # 128 + SIGTERM
PIPE_CLOSED = 141  # 128 + SIGPIPE
# Errors of writing. Those of files are InputErrors already (files.atomic_write), so these concern standard output.
OUTPUT_ERRORS = (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EFBIG)

SECONDS_BETWEEN_LINES = 30.0  # of a display of progress without a terminal

Command = Callable[[list[str]], int]

_bars: weakref.WeakSet[tqdm.tqdm] = weakref.WeakSet()


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and whose flags are written in full."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Turn argparse's message into an InputError."""
        raise InputError(f"{message}; see {self.prog} --help")


def printable(text: str) -> str:
    """`text` with every control character and every line break as a backslash escape.

    Names of files and classes are untrusted input, which could otherwise control the terminal.
    """
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode()


def print_error(text: object) -> None:
    """Print `text`, an exception or its message, as one line "error: …" on the error stream."""
    _print_line(f"error: {' '.join(str(text).split())}")


def progress_bar(items: Iterable | None = None, **options: Any) -> tqdm.tqdm:
    """tqdm's bar with these options, on a terminal only; removed at its end, and before the line of an error."""
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    bar = tqdm.tqdm(items, leave=False, disable=not on_terminal, file=sys.stderr, **options)
    _bars.add(bar)
    return bar


class ImageProgress:
    """The display of work on `total` images: a bar on a terminal, elsewhere a line every half minute.

    A context manager: the bar is removed at the end, also after an exception.
    """

    def __init__(self, title: str, total: int) -> None:
        self.title = title
        self.total = total
        self.done = 0
        self.bar = progress_bar(total=total, desc=title, unit=" images")
        self.last_line = time.monotonic()

    def __enter__(self) -> "ImageProgress":
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def update(self, count: int = 1) -> None:
        """Show that `count` more images are done."""
        self.done += count
        if not self.bar.disable:
            self.bar.update(count)
        elif time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            _print_line(f"{self.title}: {self.done} of {self.total} images")


def run(main: Command) -> NoReturn:
    """Call `main(arguments)` as a command and exit with its status.

    Bad input, or something that the operating system refuses: one line and status 2. An interruption: status 130, or
    143 for SIGTERM. Output into a closed pipe: status 141. Any other exception is a mistake in nfnumpy: one line and
    status 70, which no verdict has. With NFNUMPY_TRACEBACK=1 the traceback of every error is printed before its line.
    """
    warnings.filterwarnings("ignore")  # a command reports in one line of its own
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names may have characters that cannot be encoded
    try:
        status = main(sys.argv[1:])
        if sys.stdout is not None:
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        status = _report(error)
    sys.exit(status)


def _report(error: BaseException) -> int:
    """Print the line for `error` after removing all progress bars; returns the exit status."""
    for bar in list(_bars):
        bar.close()
    if os.environ.get("NFNUMPY_TRACEBACK") == "1":
        traceback.print_exception(error)
    hints = getattr(error, "__notes__", [])
    if isinstance(error, KeyboardInterrupt):
        if sys.stderr is not None and sys.stderr.isatty():
            print(file=sys.stderr)  # the terminal has printed ^C
        terminated = isinstance(error, Terminated)
        _print_line("; ".join([f"{'terminated' if terminated else 'interrupted'} {error}".rstrip(), *hints]))
        return TERMINATED if terminated else INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _discard_output()
        return PIPE_CLOSED
    message = _message(error)
    if message is not None:
        print_error("; ".join([message, *hints]))
        return BAD_INPUT
    print_error("; ".join([f"unexpected {type(error).__name__}: {error}", *hints,
                           "this is a mistake in nfnumpy, NFNUMPY_TRACEBACK=1 shows where"]))
    return UNEXPECTED


def _message(error: BaseException) -> str | None:
    """The line for an error whose cause is not in nfnumpy; None for any other error."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}"
    if not isinstance(error, OSError):
        return None
    reason = error.strerror or str(error)
    if error.filename:
        return f"{error.filename}: {reason}"
    if error.errno in OUTPUT_ERRORS:
        _discard_output()
        return f"standard output: {reason}"
    if not _has_working_directory():
        return "the working directory no longer exists; change to another one"
    return None


def _print_line(text: str) -> None:
    if sys.stderr is not None:
        print(printable(text), file=sys.stderr)


def _discard_output() -> None:
    """Redirect standard output to the null device, so that Python's last flush does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _has_working_directory() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True
