"""The one exception that means "what you gave cannot be used"."""


class InputError(ValueError):
    """Bad input, said in one line: what was given, what was expected, and where.

    Commands print the line and exit with status 2; callers of the Python API catch it as a `ValueError`.
    """


def first_line(error):
    """What an exception, or its text, says first, without blank lines and rules; "" if it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip(" =")), "")
