"""The files of an evaluation: the report, its tables and its pictures.

Used by: evaluate.py. Test: reference_tests/commands/test_evaluate.py.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..analysis import calibration, confusion_matrix
from ..cli import printable
from ..files import atomic_write
from ..training.run_folder import short_name
from .confusion_picture import draw_confusion
from .inputs import ClassifierInputs
from .outcome import Outcome
from .pictures import draw_mistakes, draw_reliability
from .report import confusion_csv, mistakes_csv, per_class_csv

TABLES = ("report.json", "per_class.csv", "confusion.csv", "mistakes.csv")
PICTURES = ("confusion.png", "reliability.png", "mistakes.png")
FILES = TABLES + PICTURES


def write_files(folder: str, report: dict[str, Any], outcome: Outcome, classes: Sequence[str],
                inputs: ClassifierInputs) -> str:
    """Write all FILES to an existing folder; returns the line that says so. Without matplotlib no pictures."""
    tables = (encoded(report), per_class_csv(report), confusion_csv(outcome, classes),
              mistakes_csv(outcome, inputs.split, classes))
    for name, content in zip(TABLES, tables, strict=True):
        atomic_write(os.path.join(folder, name), content)
    try:
        for name, content in zip(PICTURES, _pictures(report, outcome, classes, inputs), strict=True):
            atomic_write(os.path.join(folder, name), content)
    except ImportError:
        return f"{folder}: {', '.join(TABLES)}; for pictures: pip install 'nfnumpy[plots]'"
    return f"{folder}: {', '.join(FILES)}"


def encoded(report: dict[str, Any]) -> bytes:
    """The report in JSON."""
    return json.dumps(report, indent=1, allow_nan=False).encode() + b"\n"


def _pictures(report: dict[str, Any], outcome: Outcome, classes: Sequence[str],
              inputs: ClassifierInputs) -> Iterator[bytes]:
    """The content of each of PICTURES; ImportError without matplotlib."""
    model = os.path.join(*Path(report["model"]).parts[-2:])
    title = printable(f"{model} on {short_name(report['data'])}, {report['split']}: "
                      f"{100 * outcome.accuracy:.2f} % of {report['images']} correct")
    confusion = confusion_matrix(outcome.labels, outcome.predictions, len(classes))
    yield draw_confusion(confusion, classes, title)
    yield draw_reliability(calibration(outcome.confidences, outcome.is_correct), title)
    mistakes = report["mistakes"]
    images = inputs.take([mistake["index"] for mistake in mistakes])
    number = len(outcome.labels) - int(outcome.is_correct.sum())
    heading = f"{len(images)} of {number} mistakes, most confident first" if number else "no mistakes"
    yield draw_mistakes(images, mistakes, f"{title}\n{heading}")
