"""Plain-text tables that fit a terminal."""

import textwrap
from collections.abc import Sequence
from typing import Any, TypeAlias

WIDTH = 98  # tables are indented by two
LONGEST = 56  # of a cell, but for the first column's
Column: TypeAlias = tuple[str, str, Any]  # (heading, key, format: of format(), or a function of the value)


def lines(rows: list[dict[str, Any]], columns: Sequence[Column]) -> list[str]:
    """The lines of a table: `columns` is a list of (heading, key, format), `rows` a list of dicts.

    format: of `format()`, such as ".2f", or a function of the value; text, whose format is "", stands on the left, and
    a value that is missing or None is a dash. The first column is cut so that no line is wider than WIDTH.
    """
    cells = [[heading for heading, _, _ in columns]]
    cells += [[_shown(row.get(key), how) for _, key, how in columns] for row in rows]
    cells = [[first, *(_cut(cell, LONGEST) for cell in rest)] for first, *rest in cells]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    widths[0] = max(8, min(widths[0], WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1)))
    formats = [how for _, _, how in columns]
    return ["  ".join(map(_aligned, row, widths, formats)).rstrip() for row in cells]


def _aligned(cell, width, how):
    return _cut(cell, width).ljust(width) if how == "" else cell.rjust(width)


def wrapped(text: str, indent: str = "  ") -> list[str]:
    """The lines of a paragraph, each indented and at most WIDTH wide."""
    return textwrap.wrap(text, WIDTH + len(indent), initial_indent=indent, subsequent_indent=indent)


def gigabytes(value: float) -> str:
    """Bytes as GB with two decimals."""
    return f"{value / 1e9:.2f}"


def percent(value: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * value:.1f}"


def _shown(value, how):
    if value is None:
        return "-"
    return how(value) if callable(how) else format(value, how)


def _cut(text, width):
    return text if len(text) <= width else text[:width - 1] + "…"
