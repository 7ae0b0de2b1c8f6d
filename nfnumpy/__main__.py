"""`python -m nfnumpy`: what there is to run."""

from .cli import run
from .errors import InputError

COMMANDS = {
    "train": "train a normalizer-free network on images",
    "predict": "classify image files with a checkpoint or with published weights",
    "weights": "carry weights between nfnumpy, timm and the authors' files",
    "verify": "hold another implementation against the reference",
    "bench": "measure the processor or a GPU beside PyTorch",
}


def main(arguments):
    """List the commands."""
    if arguments and arguments[0] not in ("-h", "--help"):
        raise InputError(f"{arguments[0]}: the commands are " + " and ".join(f"nfnumpy.{name}" for name in COMMANDS))
    print("nfnumpy: normalizer-free networks by hand, on plain arrays\n")
    for name, purpose in COMMANDS.items():
        print(f"  python -m nfnumpy.{name:<10} {purpose}")
    print("\nEach takes --help.")
    return 0


if __name__ == "__main__":
    run(main)
