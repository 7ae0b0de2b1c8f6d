"""`python -m nfnumpy.bench`: measurements on the machine at hand."""

from ..cli import Parser, run
from . import cpu, gpu

EXAMPLE = """example:
  python -m nfnumpy.bench cpu --json cpu.json
docs/benchmarks says how to read what it prints"""


def parser() -> Parser:
    """A parser with one command a measurement; each sets `main`, a function of its flags."""
    p = Parser(prog="python -m nfnumpy.bench", epilog=EXAMPLE, description="Measure nfnumpy on this machine.")
    commands = p.add_subparsers(metavar="MEASUREMENT", required=True)
    cpu.add_to(commands)
    gpu.add_to(commands)
    return p


def main(arguments: list[str]) -> int:
    """Measure as the command line says; returns the status."""
    given = vars(parser().parse_args(arguments))
    return given.pop("main")(given)


if __name__ == "__main__":
    run(main)
