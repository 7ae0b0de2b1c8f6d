"""`python -m nfnumpy.weights`: carry weights between nfnumpy, timm and the authors' files."""

from ..cli import Parser, run
from .conversion import SCHEMES, convert

EXAMPLE = """example:
  python -m nfnumpy.weights convert F0_haiku.npz nfnet_f0.safetensors --to nfnumpy
reads safetensors (nfnumpy's, timm's), PyTorch's .pth and the authors' pickles, recognized by content;
writes safetensors for nfnumpy and timm, a pickle for haiku"""


def parser() -> Parser:
    """The flags."""
    p = Parser(prog="python -m nfnumpy.weights", epilog=EXAMPLE,
               description="Carry weights between nfnumpy, timm and the authors' files.")
    p.add_argument("command", choices=["convert"], help="the only command")
    p.add_argument("source", metavar="IN", help="a file of weights, or a checkpoint that nfnumpy.train wrote")
    p.add_argument("target", metavar="OUT", help="the file to write; an existing one is replaced at the end")
    p.add_argument("--to", required=True, choices=SCHEMES, help="the names and the layout to write")
    return p


def main(arguments: list[str]) -> int:
    """Convert, and print what was written."""
    given = parser().parse_args(arguments)
    print("\n".join(convert(given.source, given.target, given.to)))
    return 0


if __name__ == "__main__":
    run(main)
