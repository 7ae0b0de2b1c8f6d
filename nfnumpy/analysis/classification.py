"""What a list of labels, predicted classes and probabilities says about a classifier: confusions and calibration.

Used by: evaluation/. Test: reference_tests/evaluation/test_classification.py.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import InputError

CALIBRATION_BINS = 15  # as in Guo et al. (2017)


def confusion_matrix(labels: npt.ArrayLike, predictions: npt.ArrayLike, classes: int) -> np.ndarray:
    """int64 (classes, classes): in row i and column j, how many examples of class i were predicted as class j.

    labels, predictions: whole numbers (N,) from 0 to classes - 1; InputError for any others.
    """
    labels, predictions = (_class_numbers(name, numbers, classes)
                           for name, numbers in (("labels", labels), ("predictions", predictions)))
    if labels.shape != predictions.shape:
        raise InputError(f"confusion_matrix: {len(labels)} labels but {len(predictions)} predictions")
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)


def _class_numbers(name: str, numbers: npt.ArrayLike, classes: int) -> np.ndarray:
    array = np.asarray(numbers)
    is_whole = array.ndim == 1 and (array.dtype.kind in "iu" or not array.size)
    if not is_whole or (array.size and not (0 <= array.min() and array.max() < classes)):
        raise InputError(f"{name}: expected whole numbers (N,) from 0 to {classes - 1}")
    return array.astype(np.int64)


class ClassScores(NamedTuple):
    """float64 (classes,) each, from 0 to 1; NaN where there is nothing to divide by."""

    precision: np.ndarray  # of the examples that were predicted as the class, the share that belongs to it
    recall: np.ndarray  # of the examples of the class, the share that was predicted as it


def precision_and_recall(confusion: np.ndarray) -> ClassScores:
    """Precision and recall of every class: confusion[k, k] over the sum of column k, and over the sum of row k."""
    correct = np.diagonal(confusion)
    with np.errstate(invalid="ignore"):
        return ClassScores(correct / confusion.sum(axis=0), correct / confusion.sum(axis=1))


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Examples by the probability of their predicted class: bin m holds those above m/bins, up to (m + 1)/bins.

    counts: int64 (bins,); confidence, accuracy: float64 (bins,), the means over a bin's examples, NaN in an empty bin.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: Σ counts/N·|accuracy - confidence| (Guo et al., 2017, equation 3)."""
        gaps = np.abs(self.accuracy - self.confidence)[self.counts > 0]
        return float(np.sum(self.counts[self.counts > 0] * gaps) / np.sum(self.counts))


def calibration(confidences: npt.ArrayLike, correct: npt.ArrayLike, bins: int = CALIBRATION_BINS) -> Calibration:
    """The Calibration of N ≥ 1 examples.

    confidences: (N,), the probability of each predicted class; correct: (N,) bool, whether it was the right one.
    Source: Guo, Pleiss, Sun, Weinberger (2017), arXiv 1706.04599, section 2.
    """
    confidences, correct = np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
    if confidences.ndim != 1 or confidences.shape != correct.shape or not confidences.size or bins < 1:
        raise InputError(f"calibration: expected confidences and hits (N,), at least one, and at least one bin; got "
                         f"{confidences.shape}, {correct.shape} and {bins}")
    upper_edges = np.arange(1, bins + 1) / bins
    # A softmax may sum to a little more than 1.
    numbers = np.minimum(np.searchsorted(upper_edges, confidences, side="left"), bins - 1)
    counts = np.bincount(numbers, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(numbers, values, minlength=bins) / counts for values in (confidences, correct)]
    return Calibration(counts, *means)
