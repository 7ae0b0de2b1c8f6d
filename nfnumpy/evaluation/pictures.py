"""The pictures of an evaluation: confusion.png, reliability.png and mistakes.png.

Used by: evaluate.py. Test: reference_tests/evaluation/test_pictures.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..analysis import Calibration
from .figures import BLUE, GREY, ORANGE, drawn_name, new_figure, png_of

COLUMNS = 6  # of the sheet of mistakes
SHEET_COLUMN = 1.75  # inches of an image on it
SHEET_ROW = 1.24  # of these for an image with its two lines
SHEET_TITLE = 0.6  # inches
NAME_ON_SHEET = 20  # characters
SMALL = 96  # pixels; the pixels of an image up to this size are drawn as squares


def draw_reliability(found: Calibration, title: str) -> bytes:
    """A PNG of the reliability diagram: accuracy over confidence in each bin, and how many images each bin has."""
    figure = new_figure(5.4, 5.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bins = len(found.counts)
    left = np.arange(bins) / bins
    filled = found.counts > 0
    bars = dict(width=0.92 / bins, align="edge")
    above.bar(left[filled], found.accuracy[filled], color=BLUE, label="accuracy", **bars)
    above.hlines(found.confidence[filled], left[filled], left[filled] + 0.92 / bins, color=ORANGE, linewidth=2.5,
                 label="mean confidence")
    above.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="calibrated")
    above.set_ylim(0, 1.3)
    above.set_yticks(np.arange(6) / 5)
    above.set_ylabel("accuracy")
    above.legend(frameon=False, loc="upper left", fontsize=8, ncols=3)
    above.set_title(f"{title}\nexpected calibration error {100 * found.error:.2f} %", fontsize=9, parse_math=False,
                    wrap=True)
    below.bar(left, found.counts, color=GREY, **bars)
    below.set_xlim(0, 1)
    below.set_xlabel("confidence: probability of the predicted class")
    below.set_ylabel("images")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    return png_of(figure)


def draw_mistakes(images: np.ndarray, mistakes: Sequence[dict[str, Any]], title: str) -> bytes:
    """A PNG with the `images` (uint8 (n, H, W, 3)) of the report's `mistakes`, six a row, and what was predicted."""
    columns = max(3, min(COLUMNS, len(images)))
    height = SHEET_ROW * max(1, -(-len(images) // COLUMNS))
    figure = new_figure(SHEET_COLUMN * columns, SHEET_COLUMN * height + SHEET_TITLE)
    axes = figure.subplots()
    axes.set_title(title, fontsize=10, parse_math=False, wrap=True)
    axes.set_axis_off()
    for position, (image, mistake) in enumerate(zip(images, mistakes, strict=True)):
        row, column = divmod(position, COLUMNS)
        _draw_mistake(axes, column, SHEET_ROW * row, image, mistake)
    axes.set(xlim=(0, columns), ylim=(height, 0), aspect="equal")
    return png_of(figure)


def _draw_mistake(axes: Any, left: float, top: float, image: np.ndarray, mistake: dict[str, Any]) -> None:
    """An image with its two lines in the square whose upper left corner is at (left, top)."""
    axes.imshow(image, extent=(left + 0.04, left + 0.96, top + 0.96, top + 0.04),
                interpolation="nearest" if max(image.shape) <= SMALL else "antialiased")
    predicted, true = (drawn_name(mistake[key], NAME_ON_SHEET) for key in ("predicted", "class"))
    lines = ((0.98, ORANGE, f"predicted {predicted} {_percent(mistake['probability'])}"),
             (1.09, BLUE, f"is {true} {_percent(mistake['probability_of_class'])}"))
    for height, color, text in lines:
        axes.text(left + 0.5, top + height, text, ha="center", va="top", fontsize=7, color=color, parse_math=False)


def _percent(share: float) -> str:
    return f"({100 * share:.1f} %)"
