"""Calls of foreign code: every exception becomes one line, with the place in the target's own file."""

import contextlib
import functools
import os
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError, first_line

PACKAGE = str(Path(__file__).parents[2])
FRAMEWORKS = ("torch", "jax", "jaxlib", "numpy", "tensorflow", "keras", "flax", "haiku", "optax", "equinox")


def guarded(check: str, function: Callable, *arguments: Any, **options: Any) -> Any:
    """function(*arguments, **options); InputError, one line that names the exception, for any that it raises."""
    try:
        with np.errstate(all="ignore"):
            return function(*arguments, **options)
    except KeyboardInterrupt:
        raise
    except InputError as error:
        text = str(error)
        raise (error if text.startswith(f"{check}: ") else InputError(f"{check}: {text}")) from None
    except BaseException as error:  # the status of sys.exit would look like a verdict, and so would a traceback's
        raise InputError(f"{check}: the target raised {described(error)}") from None


def guarding(check: str, function: Callable) -> Callable:
    """The function whose calls are all guarded."""
    return functools.partial(guarded, check, function)


def described(error: BaseException) -> str:
    """An exception of a target in one line: its type, its message, and the line of the target's file."""
    message = _message(error)
    return f"{type(error).__name__}{': ' if message else ''}{message}{_place(error)}"


def _message(error):
    """The first line of an exception's text; of Keras's the second, which has what happened, without its colour."""
    text = re.sub("\x1b\\[[0-9;]*m", "", str(error))
    return first_line(text.partition("\n")[2] if text.startswith("Exception encountered when calling") else text)


def _place(error):
    """" (port.py, line 12)": the innermost call that is neither this package's nor a framework's; "" if all are."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        package = path.parts[path.parts.index("site-packages") + 1] if "site-packages" in path.parts else ""
        if not frame.filename.startswith((PACKAGE, "<")) and package not in FRAMEWORKS:
            return f" ({path.name}, line {frame.lineno})"
    return ""


@contextlib.contextmanager
def exits_as_exceptions() -> Iterator[None]:
    """os._exit of this process raises SystemExit: the status that a target gives it would look like a verdict."""
    original, process = os._exit, os.getpid()

    def raising(status: int) -> None:
        if os.getpid() != process:  # a child process of the target's
            original(status)
        raise SystemExit(status)

    os._exit = raising  # type: ignore[assignment]
    try:
        yield
    finally:
        os._exit = original
