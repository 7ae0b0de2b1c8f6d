"""`python -m nfnumpy.predict`: classify image files with a trained checkpoint or with published weights."""

from .cli import Parser, run
from .errors import InputError
from .training import load_classifier

EXAMPLE = """example:
  python -m nfnumpy.predict runs/digits/checkpoint.safetensors seven.png --top 3
  python -m nfnumpy.predict F0_haiku.npz cat.jpg"""


def parser():
    """The flags."""
    p = Parser(prog="python -m nfnumpy.predict", epilog=EXAMPLE,
               description="Classify image files with a trained checkpoint or with published weights.")
    p.add_argument("weights", help="a checkpoint that nfnumpy.train wrote, or weights of a named variant: nfnumpy's or "
                                   "timm's safetensors, PyTorch's .pth, the authors' pickles")
    p.add_argument("images", nargs="+", metavar="IMAGE", help="PNG, JPEG and other image files")
    p.add_argument("--top", type=int, default=5, metavar="K", help="how many classes to print (default: 5)")
    p.add_argument("--backend", default="numpy", metavar="NAME", help="numpy or cupy (default: numpy)")
    p.add_argument("--raw", action="store_true", help="of a checkpoint, the last weights instead of the averaged ones")
    return p


def main(arguments):
    """Print, for every image, its most probable classes."""
    given = parser().parse_args(arguments)
    if given.top < 1:
        raise InputError(f"--top {given.top}: expected a whole number above 0")
    classifier = load_classifier(given.weights, given.backend, averaged=not given.raw)
    for path in given.images:
        probabilities = classifier.probabilities(classifier.read(path))[0]
        best = probabilities.argsort()[::-1][:given.top]
        print(f"{path}: " + ", ".join(f"{classifier.classes[k]} {100 * probabilities[k]:.2f} %" for k in best))
    return 0


if __name__ == "__main__":
    run(main)
