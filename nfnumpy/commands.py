"""What every command shares: errors are one line and status 2, an interruption is status 130."""

import argparse
import sys

from .errors import InputError


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line, and whose flags are written in full."""

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message):
        """Turn argparse's message into an InputError."""
        raise InputError(f"{message}; see {self.prog} --help")


def run(main):
    """Call `main(arguments)` as a command and leave with its status."""
    try:
        status = main(sys.argv[1:])
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        status = 2
    except MemoryError as error:
        print(f"error: not enough memory: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    except BrokenPipeError:
        sys.stderr.close()
        status = 1
    sys.exit(status)
