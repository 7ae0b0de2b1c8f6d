"""Flags that the commands which run a classifier on images have in common.

Used by: evaluate.py, predict.py. Test: reference_tests/commands/test_evaluate.py, test_predict.py.
"""

import argparse

from ..datasets import PIXEL_LIMIT
from ..datasets.preprocessing import NORMALIZATIONS
from ..training import Classifier


def add_classifier_flags(p: argparse.ArgumentParser, folds: bool) -> None:
    """Add the flags to the parser `p`; folds: the default of --fold."""
    p.add_argument("--workers", type=int, default=2, metavar="N", help="threads that decode images (default: 2)")
    p.add_argument("--backend", default="numpy", metavar="NAME", help="numpy or cupy (default: numpy)")
    p.add_argument("--raw", action="store_true", help="of a checkpoint, the last weights instead of the averaged ones")
    p.add_argument("--max-pixels", type=int, default=PIXEL_LIMIT, metavar="N",
                   help=f"the largest image to decode, in pixels (default: {PIXEL_LIMIT})")
    p.add_argument("--normalization", choices=tuple(NORMALIZATIONS),
                   help="means and deviations of colors that the weights were trained with; default: imagenet, of "
                        "published weights of Inception v3 inception")
    default = "on" if folds else "off"
    p.add_argument("--fold", choices=("on", "off"), default=default,
                   help="on: batch normalizations become a part of convolutions and weights are standardized once: the "
                        f"same logits up to rounding, in less time (default: {default})")


def prepared(classifier: Classifier, given: argparse.Namespace) -> Classifier:
    """The classifier as these flags want it."""
    classifier = classifier.with_normalization(given.normalization)
    return classifier.folded() if given.fold == "on" else classifier
