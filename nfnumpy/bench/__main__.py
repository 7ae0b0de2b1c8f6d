"""`python -m nfnumpy.bench`: measurements on the machine at hand."""

from ..commands import Parser, run
from . import gpu

EXAMPLE = """example:
  python -m nfnumpy.bench gpu --json gpu.json
docs/benchmarks says how to read what it prints"""


def parser():
    """A parser with one command a measurement; each sets `main`, a function of its flags."""
    p = Parser(prog="python -m nfnumpy.bench", epilog=EXAMPLE, description="Measure nfnumpy on this machine.")
    gpu.add_to(p.add_subparsers(metavar="MEASUREMENT", required=True))
    return p


def main(arguments):
    """Measure as the command line says."""
    given = vars(parser().parse_args(arguments))
    return given.pop("main")(given)


if __name__ == "__main__":
    run(main)
