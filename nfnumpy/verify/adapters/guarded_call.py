"""Calls of foreign code: every exception becomes one line."""

import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import InputError, first_line


def guarded(check: str, function: Callable, *arguments: Any, **options: Any) -> Any:
    """function(*arguments, **options); InputError, one line that names the exception, for any that it raises."""
    try:
        with np.errstate(all="ignore"):
            return function(*arguments, **options)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # the status of sys.exit would look like a verdict
        raise InputError(f"{check}: the target raised {type(error).__name__}: {_message(error)}") from None


def _message(error):
    """The first line of an exception's text; of Keras's the second, which has what happened, without its colour."""
    text = re.sub("\x1b\\[[0-9;]*m", "", str(error))
    return first_line(text.partition("\n")[2] if text.startswith("Exception encountered when calling") else text)


def guarding(check: str, function: Callable) -> Callable:
    """The function whose calls are all guarded."""
    return functools.partial(guarded, check, function)
