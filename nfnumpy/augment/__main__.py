"""`python -m nfnumpy.augment`: draw training pictures as the network sees them."""

import io

from .. import models
from ..backend import CounterRNG
from ..cli import Parser, run
from ..datasets import FORMS, open_dataset
from ..errors import InputError
from ..files import atomic_write, check_writable
from .kinds import augmentation_of
from .sheet import draw_sheet

EXAMPLE = """example:
  python -m nfnumpy.augment show folder:pictures --augment nfnet --model nfnet_f0 --out sheet.png"""
MOST = 100  # pictures, and epochs


def parser() -> Parser:
    """The flags."""
    p = Parser(prog="python -m nfnumpy.augment", epilog=EXAMPLE,
               description="Draw training pictures as the network sees them, a row each.")
    p.add_argument("command", choices=["show"], help="the only command")
    p.add_argument("data", metavar="DATA", help=f"{FORMS}, as nfnumpy.train has it")
    p.add_argument("--augment", default="nfnet", metavar="NAME", help="as nfnumpy.train has it (default: nfnet)")
    p.add_argument("--model", metavar="NAME",
                   help="the variant whose RandAugment is meant; default: one that suits the images' size")
    p.add_argument("--image-size", type=int, metavar="PX", help="side of the images; default: as the data has it")
    p.add_argument("--count", type=int, default=6, metavar="N", help="pictures (default: 6)")
    p.add_argument("--epochs", type=int, default=6, metavar="N", help="epochs (default: 6)")
    p.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the run (default: 0)")
    p.add_argument("--out", default="augmented.png", metavar="FILE", help="the PNG to write (default: augmented.png)")
    return p


def main(arguments: list[str]) -> int:
    """Draw the first pictures of the first epoch's order; print where the sheet is."""
    given = parser().parse_args(arguments)
    for name in ("count", "epochs"):
        if not 1 <= getattr(given, name) <= MOST:
            raise InputError(f"--{name} {getattr(given, name)}: expected a whole number from 1 to {MOST}")
    check_writable("--out", given.out)
    dataset = open_dataset(given.data, given.image_size)
    model = given.model or models.default_for(dataset.image_size)
    augmentation = augmentation_of(given.augment, model, dataset.image_size)
    order = CounterRNG(given.seed).permutation("order of training images", len(dataset.train))
    sheet = draw_sheet(dataset.train, augmentation, order[:given.count].tolist(), given.epochs, given.seed)
    encoded = io.BytesIO()
    sheet.save(encoded, "PNG")
    atomic_write(given.out, encoded.getvalue())
    print(f"{given.out}: {min(given.count, len(dataset.train))} pictures in {given.epochs} epochs")
    return 0


if __name__ == "__main__":
    run(main)
