"""`python -m nfnumpy.predict`: classify image files with a trained checkpoint or with published weights."""

import argparse
import sys
from collections.abc import Iterator

from .backend import blas_threads
from .cli import Parser, print_error, run
from .datasets import checked_max_pixels
from .errors import InputError
from .evaluation import Prediction, classify_files, default_batch_size, picture_paths
from .evaluation.flags import add_classifier_flags, prepared
from .evaluation.lines import lines_in
from .training import load_classifier

SOME_FAILED = 1
NAMED = 5  # pictures in the last line about those that failed
EXAMPLE = """example:
  python -m nfnumpy.predict runs/digits/checkpoint.safetensors docs/seven.png --top 3
  python -m nfnumpy.predict F0_haiku.npz cat.jpg holidays --json
  find . -name '*.jpg' -print0 | python -m nfnumpy.predict F0_haiku.npz - -0 --csv > classes.csv"""


def parser() -> Parser:
    """The flags."""
    p = Parser(prog="python -m nfnumpy.predict", epilog=EXAMPLE,
               description="Classify image files with a trained checkpoint or with published weights.")
    p.add_argument("weights", help="a checkpoint that nfnumpy.train wrote, or weights of a named variant: nfnumpy's or "
                                   "timm's safetensors, PyTorch's .pth, the authors' pickles")
    p.add_argument("images", nargs="+", metavar="IMAGE",
                   help="an image file, a folder of them (at any depth), or - for a list of paths on standard input")
    p.add_argument("--top", type=int, default=5, metavar="K", help="how many classes to print (default: 5)")
    form = p.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", default="text",
                      help="print an object of JSON for every image, a line each")
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="print a table of CSV")
    p.add_argument("-0", "--null", dest="separator", action="store_const", const=b"\0", default=b"\n",
                   help="paths on standard input end with a NUL character, not with a line break")
    p.add_argument("--batch-size", type=int, metavar="B",
                   help="images to compute at a time; default: as many as have 2^20 pixels, at most 64")
    add_classifier_flags(p, folds=True)
    return p


def main(arguments: list[str]) -> int:
    """Print the most probable classes of every image, a line each, in the order given.

    An image that cannot be used is one line on the error stream; the images after it are still classified, and the
    status is 1.
    """
    given = parser().parse_args(arguments)
    for flag in ("top", "batch_size", "workers"):
        value = getattr(given, flag)
        if value is not None and value < 1:
            raise InputError(f"--{flag.replace('_', '-')} {value}: expected a whole number above 0")
    max_pixels = checked_max_pixels(given.max_pixels)
    blas_threads.thread_count()  # a wrong NFNUMPY_THREADS is one error, not one for every picture
    classifier = prepared(load_classifier(given.weights, given.backend, averaged=not given.raw), given)
    heading, line_of = lines_in(given.form, classifier.classes, given.top)
    if heading:
        print(heading, flush=True)
    failures = Failures()
    batch_size = given.batch_size or default_batch_size(classifier.transform.image_size)
    for prediction in classify_files(classifier, _paths(given), batch_size, given.workers, max_pixels):
        failures.note(prediction)
        line = line_of(prediction)
        if line:
            print(line, flush=True)
    return failures.finish()


def _paths(given: argparse.Namespace) -> Iterator[str | Prediction]:
    """The paths of the images, or the errors of folders."""
    listed = None
    if "-" in given.images:
        if sys.stdin is None:
            raise InputError("-: standard input is closed")
        listed = sys.stdin.buffer
    return picture_paths(given.images, listed, given.separator)


class Failures:
    """Counts the images, prints the error of each that could not be classified, and names the first ones at the end."""

    def __init__(self) -> None:
        self.images = 0
        self.count = 0
        self.first: list[str] = []

    def note(self, prediction: Prediction) -> None:
        """Count an image; print its error if it has one."""
        self.images += 1
        if isinstance(prediction.probabilities, InputError):
            print_error(prediction.probabilities)
            self.count += 1
            if len(self.first) < NAMED:
                self.first.append(prediction.path)

    def finish(self) -> int:
        """The exit status; of several failures, one line that sums them up."""
        if self.count > 1:
            more = ", …" if self.count > len(self.first) else ""
            print_error(f"{self.count} of {self.images} could not be classified: {', '.join(self.first)}{more}")
        return SOME_FAILED if self.count else 0


if __name__ == "__main__":
    run(main)
