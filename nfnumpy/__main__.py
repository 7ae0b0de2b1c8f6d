"""`python -m nfnumpy`, installed as `nfnumpy`: lists the commands and runs them."""

import importlib

from . import cli
from .errors import InputError

COMMANDS = {  # name: (module, purpose)
    "train": ("nfnumpy.train", "train a normalizer-free network on images"),
    "data": ("nfnumpy.data", "check a data set, or write it as tar shards"),
    "evaluate": ("nfnumpy.evaluate", "measure how good a checkpoint or published weights are on labelled images"),
    "summary": ("nfnumpy.summary", "the blocks of a network, their shapes and costs, and the memory that it takes"),
    "predict": ("nfnumpy.predict", "classify image files with a checkpoint or with published weights"),
    "augment": ("nfnumpy.augment.__main__", "draw pictures as a network sees them in training"),
    "weights": ("nfnumpy.weights.__main__", "convert weights between nfnumpy, timm and the authors'; export to ONNX"),
    "verify": ("nfnumpy.verify.__main__", "check another implementation against the reference"),
    "bench": ("nfnumpy.bench.__main__", "measure the processor or a GPU beside PyTorch"),
}


def dispatch(arguments: list[str]) -> int:
    """Run the command that the first argument names with the other arguments; without any, list the commands."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(listing())
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        raise InputError(f"{name}: expected one of the commands {', '.join(COMMANDS)}")
    module, _ = COMMANDS[name]
    return importlib.import_module(module).main(rest)


def listing() -> str:
    """The commands and their purposes, a line each."""
    lines = ["nfnumpy: normalizer-free networks by hand, on plain arrays", ""]
    lines += [f"  nfnumpy {name:<10} {purpose}" for name, (_, purpose) in COMMANDS.items()]
    lines += ["", "Each takes --help; `python -m nfnumpy.train` is the same as `nfnumpy train`."]
    return "\n".join(lines)


def main() -> None:
    """The console command `nfnumpy`."""
    cli.run(dispatch)


if __name__ == "__main__":
    main()
