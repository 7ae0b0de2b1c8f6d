"""Flags that the commands which run a classifier on images have in common.

Used by: evaluate.py, predict.py. Test: reference_tests/commands/test_evaluate.py, test_predict.py.
"""

import argparse

from ..datasets import PIXEL_LIMIT


def add_classifier_flags(p: argparse.ArgumentParser) -> None:
    """Add --workers, --backend, --raw and --max-pixels to the parser `p`."""
    p.add_argument("--workers", type=int, default=2, metavar="N", help="threads that decode images (default: 2)")
    p.add_argument("--backend", default="numpy", metavar="NAME", help="numpy or cupy (default: numpy)")
    p.add_argument("--raw", action="store_true", help="of a checkpoint, the last weights instead of the averaged ones")
    p.add_argument("--max-pixels", type=int, default=PIXEL_LIMIT, metavar="N",
                   help=f"the largest image to decode, in pixels (default: {PIXEL_LIMIT})")
