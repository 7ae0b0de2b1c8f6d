"""confusion.png: the confusion matrix with names and numbers where they fit, and the most frequent confusions.

Used by: pictures.py. Test: reference_tests/evaluation/test_pictures.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .figures import BLUE, ORANGE, drawn_name, new_figure, png_of

MOST_WITH_NUMBERS = 25  # classes whose cells can hold a number
MOST_WITH_NAMES = 120  # classes whose rows can have a name
POINTS_SIDE = 8.0  # inches, of a matrix without names
LIST_WIDTH, LINE_HEIGHT = 3.6, 0.34  # inches, of the list of confusions and a line of it
GAMMA = 0.4  # a share s has the colour of s^0.4, so that rare confusions are seen


def draw_confusion(confusion: np.ndarray, classes: Sequence[str], title: str) -> bytes:
    """A PNG of the matrix (K, K) of counts, rows the true class; cells are coloured by their share of the row.

    Only classes that have images or were predicted are drawn. Up to 25 classes the cells have their numbers, up to 120
    the rows have their names, beyond that a point stands for each cell. More than 25 have a list of confusions beside.
    """
    shown = np.flatnonzero((confusion.sum(axis=0) + confusion.sum(axis=1)) > 0).tolist()
    confusion = confusion[np.ix_(shown, shown)]
    names = [drawn_name(classes[k]) for k in shown]
    if len(names) <= MOST_WITH_NUMBERS:
        side = 0.45 * len(names) + 0.09 * max(map(len, names)) + 1.2
        figure = new_figure(max(5.0, side), max(3.2, side))
        axes = figure.subplots()
        _draw_cells(axes, confusion, names)
        _write_numbers(axes, confusion)
    else:
        side = max(7.0, 0.14 * len(names) + 2.0) if len(names) <= MOST_WITH_NAMES else POINTS_SIDE
        figure = new_figure(side + LIST_WIDTH, side)
        axes, beside = figure.subplots(1, 2, width_ratios=(side, LIST_WIDTH))
        if len(names) <= MOST_WITH_NAMES:
            _draw_cells(axes, confusion, names)
        else:
            _draw_points(axes, confusion)
        _list_confusions(beside, confusion, names, int((side - 1.0) / LINE_HEIGHT))
    figure.suptitle(title, fontsize=9, parse_math=False, wrap=True)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    return png_of(figure)


def _row_shares(confusion: np.ndarray) -> np.ndarray:
    """Every count over the sum of its row; 0 in a row without images."""
    return confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))


def _draw_cells(axes: Any, confusion: np.ndarray, names: Sequence[str]) -> None:
    """The matrix as an image, with names at both axes."""
    axes.imshow(_row_shares(confusion)**GAMMA, cmap="Blues", vmin=0.0, vmax=1.0, interpolation="nearest")
    size = 8 if len(names) <= MOST_WITH_NUMBERS else 6
    upright = max(map(len, names)) > 3 or len(names) > MOST_WITH_NUMBERS
    axes.set_xticks(range(len(names)), names, fontsize=size, rotation=90 if upright else 0, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=size, parse_math=False)
    axes.tick_params(length=0)


def _write_numbers(axes: Any, confusion: np.ndarray) -> None:
    """The counts in their cells; a 0 is left out."""
    shares = _row_shares(confusion)
    size = min(9.0, 30.0 / len(str(confusion.max(initial=1))))
    for (row, column), number in np.ndenumerate(confusion):
        if number:
            color = "white" if shares[row, column]**GAMMA > 0.6 else "black"
            axes.text(column, row, str(number), ha="center", va="center", fontsize=size, color=color)


def _draw_points(axes: Any, confusion: np.ndarray) -> None:
    """A point for every cell that is not 0, larger off the diagonal for a larger share; the axes count the classes."""
    rows, columns = np.nonzero(confusion)
    wrong = rows != columns
    sizes = 1.0 + 30.0 * _row_shares(confusion)[rows, columns]
    axes.scatter(columns[~wrong], rows[~wrong], s=3.0, color=BLUE, linewidths=0, label="correct")
    axes.scatter(columns[wrong], rows[wrong], s=sizes[wrong], color=ORANGE, linewidths=0,
                 label="confused; larger: a larger share of the true class")
    axes.set_xlim(-0.5, len(confusion) - 0.5)
    axes.set_ylim(len(confusion) - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.legend(loc="upper right", fontsize=7)


def _list_confusions(axes: Any, confusion: np.ndarray, names: Sequence[str], lines: int) -> None:
    """Up to `lines` pairs of classes that were confused most often, with counts and bars."""
    wrong = confusion - np.diag(np.diagonal(confusion))
    rows, columns = np.nonzero(wrong)
    most = np.argsort(-wrong[rows, columns], kind="stable")[:lines]
    pairs = list(zip(rows[most].tolist(), columns[most].tolist(), strict=True))
    axes.barh(range(len(pairs)), [wrong[pair] for pair in pairs], color=ORANGE, alpha=0.6, height=0.25)
    for position, (row, column) in enumerate(pairs):
        text = f"{names[row]} → {names[column]}: {wrong[row, column]} of {confusion[row].sum()}"
        axes.text(0.0, position - 0.2, text, fontsize=7, va="bottom", parse_math=False)
    axes.set_ylim(lines - 0.5, -1.0)
    axes.set_title("confused most often: true → predicted" if pairs else "nothing was confused", fontsize=8,
                   loc="left")
    axes.set_axis_off()
