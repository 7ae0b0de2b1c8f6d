"""The report of an evaluation: everything about it as numbers and names that JSON can hold, and its tables as CSV.

Used by: evaluate.py. Test: reference_tests/commands/test_evaluate.py.
"""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..analysis import Calibration, calibration, confusion_matrix, precision_and_recall
from ..datasets import Split
from ..training.trainer import TOP
from .outcome import Outcome

MISTAKES = 24  # the most confident ones, in the report and on the sheet


def make_report(facts: dict[str, Any], classes: Sequence[str], outcome: Outcome, split: Split) -> dict[str, Any]:
    """`facts`, followed by what the outcome on `split` says about a model with these classes.

    Shares and probabilities are from 0 to 1, None where there is nothing to divide by.
    """
    count = len(outcome.labels)
    confusion = confusion_matrix(outcome.labels, outcome.predictions, len(classes))
    report = {**facts, "images": count, "accuracy": outcome.accuracy}
    if len(classes) > TOP:
        report["top5_accuracy"] = outcome.top5_accuracy
    report["loss"] = outcome.loss
    report.update(_calibration_entries(calibration(outcome.confidences, outcome.is_correct)))
    report.update(images_per_second=count / outcome.seconds, seconds=outcome.seconds,
                  waited_seconds=outcome.waited_seconds, classes=_class_entries(confusion, classes),
                  confusions=_confusions(confusion, classes),
                  mistakes=list(_mistakes(outcome, split, classes, MISTAKES)),
                  bad_images=list(outcome.bad_images.values()))
    return report


def _calibration_entries(found: Calibration) -> dict[str, Any]:
    bins = len(found.counts)
    entries = [{"above": m / bins, "up_to": (m + 1) / bins, "images": int(found.counts[m]),
                "confidence": _number(found.confidence[m]), "accuracy": _number(found.accuracy[m])}
               for m in range(bins)]
    return {"expected_calibration_error": found.error, "calibration": entries}


def _class_entries(confusion: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """An entry for every class of the model."""
    precision, recall = precision_and_recall(confusion)
    images, predicted, correct = confusion.sum(axis=1), confusion.sum(axis=0), np.diagonal(confusion)
    return [{"class": name, "images": int(images[k]), "predicted": int(predicted[k]), "correct": int(correct[k]),
             "precision": _number(precision[k]), "recall": _number(recall[k])} for k, name in enumerate(classes)]


def _confusions(confusion: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The pairs of classes that were confused, most often first; with the diagonal they are the whole matrix."""
    true, predicted = np.nonzero(confusion - np.diag(np.diagonal(confusion)))
    counts = confusion[true, predicted]
    return [{"class": classes[true[k]], "predicted": classes[predicted[k]], "images": int(counts[k])}
            for k in np.argsort(-counts, kind="stable")]


def _mistakes(outcome: Outcome, split: Split, classes: Sequence[str],
              most: int | None = None) -> Iterator[dict[str, Any]]:
    """The mistakes, or the `most` confident ones, most confident first: the image, classes and their probabilities."""
    wrong = np.flatnonzero(~outcome.is_correct)
    for k in wrong[np.argsort(-outcome.confidences[wrong], kind="stable")][:most].tolist():
        number = int(outcome.numbers[k])
        yield {"index": number, "name": split.name(number), "class": classes[outcome.labels[k]],
               "predicted": classes[outcome.predictions[k]], "probability": _six_digits(outcome.confidences[k]),
               "probability_of_class": _six_digits(outcome.label_probabilities[k])}


def _six_digits(value: float) -> float:
    """A probability to the six digits that float32 has."""
    return float(f"{value:.6g}")


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def per_class_csv(report: dict[str, Any]) -> bytes:
    """The report's classes as a table of CSV, a row each."""
    return _csv_of_entries(("class", "images", "predicted", "correct", "precision", "recall"), report["classes"])


def mistakes_csv(outcome: Outcome, split: Split, classes: Sequence[str]) -> bytes:
    """All mistakes as a table of CSV, a row each, most confident first."""
    columns = ("name", "class", "predicted", "probability", "probability_of_class")
    return _csv_of_entries(columns, _mistakes(outcome, split, classes))


def confusion_csv(outcome: Outcome, classes: Sequence[str]) -> bytes:
    """The confusion matrix as a table of CSV: a row for each true class, a column for each predicted one."""
    confusion = confusion_matrix(outcome.labels, outcome.predictions, len(classes))
    return _csv([["true \\ predicted", *classes],
                 *([name, *row.tolist()] for name, row in zip(classes, confusion, strict=True))])


def _csv_of_entries(columns: Sequence[str], entries: Iterable[dict[str, Any]]) -> bytes:
    return _csv([columns, *([entry[column] for column in columns] for entry in entries)])


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    """The rows in CSV; what UTF-8 does not have in a name is a backslash escape."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")
