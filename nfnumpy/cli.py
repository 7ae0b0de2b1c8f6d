"""What every command shares: errors are one line and status 2, an interruption is status 130."""

import argparse
import os
import sys
import warnings

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
    warnings.filterwarnings("ignore")  # what matters is said as an error, in one line
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names may hold what a terminal cannot show
    try:
        status = main(sys.argv[1:])
        if sys.stdout is not None:
            sys.stdout.flush()
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
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that leaving does not try to write again
        status = 1
    except OSError as error:
        print(f"error: {error.filename or 'standard output'}: {error.strerror or error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 2
    sys.exit(status)
