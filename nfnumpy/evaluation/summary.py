"""What an evaluation prints.

Used by: evaluate.py. Test: reference_tests/commands/test_evaluate.py.
"""

from collections.abc import Iterator
from typing import Any

MOST_CLASSES = 20  # up to so many, all are listed; else the WORST
WORST = 10
CONFUSIONS = 5


def summary_lines(report: dict[str, Any]) -> Iterator[str]:
    """The lines that sum up a report."""
    yield (f"{report['model']} ({report['weights']}) on {report['data']}, {report['split']}: {report['images']} images "
           f"of {report['image_size']} px, {report['classes_of_data']} classes")
    if report["remark"]:
        yield f"note: {report['remark']}"
    correct = sum(entry["correct"] for entry in report["classes"])
    yield f"top-1        {_percent(report['accuracy'])}   {correct} of {report['images']}"
    if "top5_accuracy" in report:
        yield f"top-5        {_percent(report['top5_accuracy'])}"
    yield f"loss         {report['loss']:8.4f}"
    yield (f"calibration  {_percent(report['expected_calibration_error'])}   expected calibration error, "
           f"{len(report['calibration'])} bins")
    yield (f"speed        {report['images_per_second']:8.0f}     images/s; {report['seconds']:.1f} s, of these "
           f"{report['waited_seconds']:.1f} s waiting for images")
    yield from _class_lines(report["classes"])
    if report["bad_images"]:
        yield f"left out: {len(report['bad_images'])} images that cannot be read, first {report['bad_images'][0]}"
    for pair in report["confusions"][:CONFUSIONS]:
        yield f"{pair['class']} predicted as {pair['predicted']}: {pair['images']}"


def _class_lines(classes: list[dict[str, Any]]) -> Iterator[str]:
    """The table of the classes that have images, or of those with the lowest recall."""
    with_images = [entry for entry in classes if entry["images"]]
    heading = "class"
    if len(with_images) > MOST_CLASSES:
        with_images = sorted(with_images, key=lambda entry: entry["recall"])[:WORST]
        heading = "class (lowest recall)"
    width = max(len(heading), *(len(entry["class"]) for entry in with_images))
    yield f"{heading:{width}}  images    recall  precision"
    for entry in with_images:
        yield (f"{entry['class']:{width}}  {entry['images']:6}  {_percent(entry['recall'])}  "
               f"{_percent(entry['precision'])}")


def _percent(share: float | None) -> str:
    return "       –" if share is None else f"{100 * share:6.2f} %"
