"""Calling what a stranger wrote: whatever it raises becomes one line."""

from ...errors import InputError, first_line


def asked(kind, function, *arguments, **options):
    """function(*arguments, **options); InputError, one line that names the exception, for whatever it raises."""
    try:
        return function(*arguments, **options)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{kind}: the target raised {type(error).__name__}: {first_line(error)}") from None
