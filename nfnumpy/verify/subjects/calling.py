"""Calling what a stranger wrote: whatever it raises becomes one line."""

import inspect

from ...errors import InputError


def asked(kind, function, *arguments, **options):
    """function(*arguments, **options); InputError, one line that names the exception, for whatever it raises."""
    try:
        return function(*arguments, **options)
    except InputError:
        raise
    except Exception as error:
        lines = str(error).splitlines() or [""]
        raise InputError(f"{kind}: the target raised {type(error).__name__}: {lines[0]}") from None


def parameter_names(target):
    """The names of a callable's positional parameters; empty where Python cannot tell."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return []
    return [parameter.name for parameter in parameters
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)]
