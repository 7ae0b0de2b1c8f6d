"""`python -m nfnumpy.augment`: draw training pictures as the network sees them."""

import argparse
import io

from .. import models
from ..cli import Parser, run
from ..datasets import BAD_IMAGES, FORMS, Dataset, ReadingOptions, SkippingSplit, open_dataset
from ..errors import InputError
from ..files import atomic_write, check_writable
from .erasing import ERASE_MODES, RandomErasing
from .examples import MOST_SORTED, TrainingExamples
from .jitter import ColorJitter
from .kinds import augmentation_of
from .pairs import MIXING_FORMS, Mixing
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
    for flag in ("--mixup", "--cutmix", "--color-jitter", "--erase"):
        p.add_argument(flag, type=float, metavar="X", help="as nfnumpy.train has it (default: off)")
    for flag, choices in (("--mixing", MIXING_FORMS), ("--augment-before-mix", ("auto", "on", "off")),
                          ("--erase-mode", ERASE_MODES)):
        p.add_argument(flag, choices=choices, default=choices[0],
                       help=f"as nfnumpy.train has it (default: {choices[0]})")
    p.add_argument("--batch-size", type=int, default=32, metavar="B", help="images a step (default: 32)")
    p.add_argument("--model", metavar="NAME",
                   help="the variant whose RandAugment is meant; default: one that suits the images' size")
    p.add_argument("--image-size", type=int, metavar="PX", help="side of the images; default: as the data has it")
    p.add_argument("--test-share", type=float, metavar="SHARE",
                   help="of a folder without test pictures, the share that nfnumpy.train has for them")
    p.add_argument("--on-bad-image", choices=BAD_IMAGES, default="error",
                   help="as nfnumpy.train has it (default: error)")
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
    if given.batch_size < 1:
        raise InputError(f"--batch-size {given.batch_size}: expected a whole number from 1 up")
    check_writable("--out", given.out)
    preferred = None if given.model is None else models.config_of(given.model).train_size
    reading = ReadingOptions(on_bad_image=given.on_bad_image, test_share=given.test_share, preferred_size=preferred)
    dataset = open_dataset(given.data, given.image_size, reading)
    examples = _examples(given, dataset)
    count = min(given.count, len(dataset.train))
    sheet = draw_sheet(examples, [examples.index(number) for number in range(count)])
    encoded = io.BytesIO()
    sheet.save(encoded, "PNG")
    atomic_write(given.out, encoded.getvalue())
    print(f"{given.out}: {count} pictures in {given.epochs} epochs")
    return 0


def _examples(given: argparse.Namespace, dataset: Dataset) -> TrainingExamples:
    """The examples that the flags choose."""
    split = SkippingSplit(dataset.train) if given.on_bad_image == "skip" else dataset.train
    model = given.model or models.default_for(dataset.image_size)
    mixing = None
    if given.mixup is not None or given.cutmix is not None:
        augment_first = {"auto": None, "on": True, "off": False}[given.augment_before_mix]
        mixing = Mixing(given.mixup, given.cutmix, given.mixing, augment_first=augment_first)
    return TrainingExamples(
        split, len(dataset.classes), min(given.batch_size, len(dataset.train)), given.epochs, given.seed,
        augmentation_of(given.augment, model, dataset.image_size), mixing,
        None if given.color_jitter is None else ColorJitter(given.color_jitter),
        None if given.erase is None else RandomErasing(given.erase, given.erase_mode),
        is_keyed=len(dataset.train) > MOST_SORTED)


if __name__ == "__main__":
    run(main)
