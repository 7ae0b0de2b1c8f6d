"""The accuracy that the default training run reaches on the embedded digits."""

import contextlib
import io
import os
import tempfile
from typing import Any

from ...training import train
from ..report import Report
from . import checks

ACCURACY, TOLERANCE = 0.9916, 0.006


def measure(report: Report, plan: Any, allowance: Any) -> None:
    """The section "digits": one row."""
    with report.section("digits", "Accuracy on the embedded digits") as section:
        accuracy, epochs = train_on_digits()
        deviation = abs(accuracy - ACCURACY)
        section.add(what="accuracy on the digits", passed=deviation <= TOLERANCE, accuracy=accuracy,
                    deviation=deviation, epochs=epochs,
                    found=f"{100 * accuracy:.2f} % after {epochs} epochs, expected {100 * ACCURACY:.2f} ± "
                          f"{100 * TOLERANCE:.1f} %")
        section.show(checks.COLUMNS)


def train_on_digits() -> tuple[float, int]:
    """(test accuracy, epochs) of the default run."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        entries = train({"backend": "cupy", "out": os.path.join(folder, "run")})
    return entries[-1]["test_accuracy"], len(entries)
