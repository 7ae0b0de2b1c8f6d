"""`python -m nfnumpy.evaluate`: how good a classifier is on a labelled split."""

import argparse
import os
from typing import Any

from . import datasets
from .backend import blas_threads
from .cli import ImageProgress, Parser, printable, run
from .datasets import BAD_IMAGES, DECODERS, Dataset, ReadingOptions
from .errors import InputError
from .evaluation import ClassifierInputs, ClassMatch, Outcome, default_batch_size, evaluate, match_classes
from .evaluation.files import FILES, encoded, write_files
from .evaluation.flags import add_classifier_flags, prepared
from .evaluation.reading import reading_options
from .evaluation.report import make_report
from .evaluation.summary import summary_lines
from .files import atomic_write, check_writable
from .training import Classifier, load_classifier

EXAMPLE = """example:
  python -m nfnumpy.evaluate runs/digits/checkpoint.safetensors --data digits --out runs/digits/evaluation
writes there """ + ", ".join(FILES)
READING = ("max_pixels", "test_share", "on_bad_image", "decoder")  # flags


def parser() -> Parser:
    """The flags."""
    p = Parser(prog="python -m nfnumpy.evaluate", epilog=EXAMPLE,
               description="Measure how good a trained checkpoint or published weights are on labelled images.")
    p.add_argument("model", metavar="MODEL", help="a checkpoint that nfnumpy.train wrote, or weights of a named "
                                                  "variant, as nfnumpy.predict has it")
    p.add_argument("--data", required=True, metavar="SPEC", help="the labelled images, as nfnumpy.train has it")
    p.add_argument("--split", choices=("test", "train"), default="test", help="which part (default: test)")
    p.add_argument("--test-share", type=float, metavar="SHARE",
                   help="of a folder without test pictures, the share that is drawn for them; default: the run's, for "
                        "its data")
    p.add_argument("--on-bad-image", choices=BAD_IMAGES,
                   help="an image that cannot be read is an error, or left out; default: as the run had it")
    p.add_argument("--decoder", choices=DECODERS,
                   help="as nfnumpy.train has it; default: the run's, or pillow")
    p.add_argument("--out", metavar="DIR", help="folder for report, tables and pictures; default: none are written")
    p.add_argument("--json", metavar="FILE", help="write the report to this file too")
    p.add_argument("--image-size", type=int, metavar="PX", help="side of the images in pixels; default: the model's")
    p.add_argument("--batch-size", type=int, metavar="B",
                   help="images at a time; default: as the run of a checkpoint had it, or as nfnumpy.predict")
    add_classifier_flags(p, folds=False)
    return p


def main(arguments: list[str]) -> int:
    """Evaluate, print the summary, write the files."""
    given = parser().parse_args(arguments)
    _check(given)
    classifier = prepared(load_classifier(given.model, given.backend, averaged=not given.raw), given)
    if given.image_size is not None:
        classifier = classifier.with_image_size(given.image_size)
    reading = reading_options(classifier.run, given.data, {name: getattr(given, name) for name in READING})
    dataset = datasets.open_dataset(given.data, classifier.transform.image_size, reading)
    split = dataset.train if given.split == "train" else dataset.test
    if len(split) == 0:
        raise InputError(f"--split {given.split}: {given.data} has no such images")
    match = match_classes(classifier.classes, dataset.classes, are_stored=classifier.run is not None)
    inputs = ClassifierInputs(split, classifier.transform, match.outputs)
    outcome = _outcome(given, classifier, inputs, reading)
    report = make_report(_facts(given, classifier, dataset, match), match.names, outcome, split)
    for line in summary_lines(report):
        print(printable(line))
    if given.json is not None:
        atomic_write(given.json, encoded(report))
    if given.out is not None:
        print(printable(write_files(given.out, report, outcome, match.names, inputs)))
    return 0


def _check(given: argparse.Namespace) -> None:
    """InputError for flags that cannot be used, before anything is read."""
    for flag, least in (("batch_size", 1), ("workers", 0), ("image_size", 1)):
        value = getattr(given, flag)
        if value is not None and value < least:
            raise InputError(f"--{flag.replace('_', '-')} {value}: expected a whole number of at least {least}")
    blas_threads.thread_count()
    check_writable("--json", given.json)
    if given.out is not None:
        try:
            os.makedirs(given.out, exist_ok=True)
        except (OSError, ValueError) as error:
            raise InputError(f"--out {given.out}: cannot make the folder: "
                             f"{getattr(error, 'strerror', None) or error}") from None
        for name in FILES:
            check_writable("--out", os.path.join(given.out, name))


def _outcome(given: argparse.Namespace, classifier: Classifier, inputs: ClassifierInputs,
             reading: ReadingOptions) -> Outcome:
    """The outcome, with a progress bar meanwhile."""
    batch_size = given.batch_size
    if batch_size is None:
        batch_size = classifier.run.batch_size if classifier.run else default_batch_size(
            classifier.transform.image_size)
    with ImageProgress("evaluate", len(inputs)) as progress:
        return evaluate(classifier, inputs, batch_size, given.workers, reading.on_bad_image == "skip", progress.update)


def _facts(given: argparse.Namespace, classifier: Classifier, dataset: Dataset,
           match: ClassMatch) -> dict[str, Any]:
    """What the report begins with: what was evaluated on what."""
    kept = "weights" if classifier.run is None else "averaged weights" if classifier.run.averaged else "last weights"
    return {"model": given.model, "weights": kept, "data": given.data, "split": given.split,
            "image_size": classifier.transform.image_size, "classes_of_data": len(dataset.classes),
            "remark": match.remark}


if __name__ == "__main__":
    run(main)
