"""The one exception that means "what you gave cannot be used"."""


class InputError(ValueError):
    """Bad input, said in one line: what was given, what was expected, and where.

    Commands print the line and exit with status 2; callers of the Python API catch it as a `ValueError`.
    """
