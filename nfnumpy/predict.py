"""`python -m nfnumpy.predict`: classify image files with a trained checkpoint or with published weights."""

from .backend import blas_threads
from .cli import BAD_INPUT, Parser, print_error, printable, run
from .datasets import PIXEL_LIMIT, checked_max_pixels
from .errors import InputError
from .training import Classifier, load_classifier

EXAMPLE = """example:
  python -m nfnumpy.predict runs/digits/checkpoint.safetensors docs/seven.png --top 3
  python -m nfnumpy.predict F0_haiku.npz cat.jpg"""


def parser() -> Parser:
    """The flags."""
    p = Parser(prog="python -m nfnumpy.predict", epilog=EXAMPLE,
               description="Classify image files with a trained checkpoint or with published weights.")
    p.add_argument("weights", help="a checkpoint that nfnumpy.train wrote, or weights of a named variant: nfnumpy's or "
                                   "timm's safetensors, PyTorch's .pth, the authors' pickles")
    p.add_argument("images", nargs="+", metavar="IMAGE", help="PNG, JPEG and other image files")
    p.add_argument("--top", type=int, default=5, metavar="K", help="how many classes to print (default: 5)")
    p.add_argument("--backend", default="numpy", metavar="NAME", help="numpy or cupy (default: numpy)")
    p.add_argument("--raw", action="store_true", help="of a checkpoint, the last weights instead of the averaged ones")
    p.add_argument("--max-pixels", type=int, default=PIXEL_LIMIT, metavar="N",
                   help=f"the largest image to decode, in pixels (default: {PIXEL_LIMIT})")
    return p


def main(arguments: list[str]) -> int:
    """Print the most probable classes of every image, a line each.

    An image that cannot be used is one line on the error stream; the images after it are still classified, and the
    status is that of bad input.
    """
    given = parser().parse_args(arguments)
    if given.top < 1:
        raise InputError(f"--top {given.top}: expected a whole number above 0")
    max_pixels = checked_max_pixels(given.max_pixels)
    blas_threads.thread_count()  # a wrong NFNUMPY_THREADS is one error, not one for every picture
    classifier = load_classifier(given.weights, given.backend, averaged=not given.raw)
    status = 0
    for path in given.images:
        try:
            print(_line(classifier, path, given.top, max_pixels), flush=True)
        except InputError as error:
            print_error(error)
            status = BAD_INPUT
    return status


def _line(classifier: Classifier, path: str, top: int, max_pixels: int) -> str:
    """The line for the image at `path`: its `top` most probable classes with their probabilities."""
    probabilities = classifier.probabilities(classifier.read(path, max_pixels))[0]
    best = probabilities.argsort()[::-1][:top]
    classes = (f"{classifier.classes[k]} {100 * probabilities[k]:.2f} %" for k in best)
    return printable(f"{path}: " + ", ".join(classes))


if __name__ == "__main__":
    run(main)
