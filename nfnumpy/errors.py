"""The exceptions for bad input, for numbers that are not finite, and for SIGTERM."""


class InputError(ValueError):
    """Bad input, described in one line: what was given, what was expected, and where.

    Commands print the line and exit with status 2; callers of the Python API catch it as a `ValueError`.
    """


class NotFinite(InputError):
    """A loss, a gradient or a weight is infinite or not a number, and work cannot go on."""


class Terminated(KeyboardInterrupt):
    """SIGTERM asked the process to end; as KeyboardInterrupt, which is what SIGINT raises, it is no error."""


def first_line(error: object) -> str:
    """The first line of an exception or a text that is neither blank nor a rule; "" if there is none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip(" =")), "")
