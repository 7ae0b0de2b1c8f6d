"""A prediction as a line of text, of JSON or of CSV.

Used by: predict.py. Test: reference_tests/commands/test_predict.py.
"""

import csv
import io
import json
from collections.abc import Callable, Sequence

import numpy as np

from ..cli import printable
from ..errors import InputError
from .predictions import Prediction

Line = Callable[[Prediction], str]  # without the line's end; "" for none


def lines_in(form: str, classes: Sequence[str], top: int) -> tuple[str, Line]:
    """(heading or "", function that makes the line of a Prediction) in the form "text", "json" or "csv".

    A line has the `top` most probable classes, or all if there are fewer, most probable first. An image that has no
    probabilities has no line of text, and its error in the others.
    """
    top = min(top, len(classes))
    if form == "json":
        return "", lambda prediction: _json(prediction, classes, top)
    if form == "csv":
        columns = [name for k in range(1, top + 1) for name in (f"class_{k}", f"probability_{k}")]
        return _csv(["file", *columns, "error"]), lambda prediction: _csv(_cells(prediction, classes, top))
    return "", lambda prediction: _text(prediction, classes, top)


def _best(probabilities: np.ndarray, classes: Sequence[str], top: int) -> list[tuple[str, float]]:
    """[(class, probability)] of the most probable classes; of equal ones, the first."""
    best = np.argsort(-probabilities, kind="stable")[:top]
    return [(classes[k], float(probabilities[k])) for k in best]


def _rounded(probability: float) -> float:
    """To six digits, which float32 has."""
    return float(f"{probability:.6g}")


def _text(prediction: Prediction, classes: Sequence[str], top: int) -> str:
    if isinstance(prediction.probabilities, InputError):
        return ""
    best = (f"{name} {100 * share:.2f} %" for name, share in _best(prediction.probabilities, classes, top))
    return printable(f"{prediction.path}: " + ", ".join(best))


def _json(prediction: Prediction, classes: Sequence[str], top: int) -> str:
    if isinstance(prediction.probabilities, InputError):
        return json.dumps({"file": prediction.path, "error": str(prediction.probabilities)})
    best = _best(prediction.probabilities, classes, top)
    return json.dumps({"file": prediction.path, "classes": [{"class": name, "probability": _rounded(share)}
                                                            for name, share in best]})


def _cells(prediction: Prediction, classes: Sequence[str], top: int) -> list[object]:
    if isinstance(prediction.probabilities, InputError):
        return [prediction.path, *[""] * (2 * top), prediction.probabilities]
    best = _best(prediction.probabilities, classes, top)
    return [prediction.path, *(cell for name, share in best for cell in (name, _rounded(share))), ""]


def _csv(cells: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
