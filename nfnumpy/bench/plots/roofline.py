"""Operations under the roofs of the machine: products against FLOP per byte, the others against the copy."""

import math

from ..cases import peak_rates
from ..cases.operations import DIRECTIONS
from ..implementations import NFNUMPY, REFERENCE, TORCH
from ..report import Report
from .figure import COLOURS, LABELS, MARKERS, machine_line, new_figure, plain_axes, write

SERIES = ((REFERENCE, "reference_rate"), (TORCH, "torch_rate"), (NFNUMPY, "rate"))


def draw(report: Report, path: str) -> bool:
    """Draw the PNG file `path`; False when no operation was measured."""
    rows = report.rows("operations")
    if not rows:
        return False
    products = [row for row in rows if row["operations"]]
    others = [row for row in rows if not row["operations"]]
    titles = list(dict.fromkeys(row["operation"] for row in products))
    numbers = {title: k for k, title in enumerate(titles, start=1)}
    figure = new_figure(13.0, 9.0, f"Operations under the roofs of the machine\n{machine_line(report)}")
    grid = figure.add_gridspec(2, 3, width_ratios=(1, 1, 0.62), height_ratios=(1.5, 1))
    shared, floor = None, min(row[key] for row in products for _, key in SERIES if key in row) / 2
    for k, direction in enumerate(DIRECTIONS):
        shared = axes = figure.add_subplot(grid[0, k], sharey=shared, sharex=shared)
        _roofline(axes, [row for row in products if row["direction"] == direction], numbers, floor,
                  report)
        axes.set_title(f"convolutions, {direction}", fontsize=10)
    figure.axes[0].set_ylabel("GFLOP/s")
    listing = figure.add_subplot(grid[0, 2])
    listing.axis("off")
    lines = ["kernel /stride, channels in→out or groups, side:", *(f"{k:2d}  {title}" for title, k in numbers.items())]
    listing.text(0.0, 1.0, "\n".join(lines), va="top", fontsize=8.5, linespacing=1.7)
    for k, direction in enumerate(DIRECTIONS):
        axes = figure.add_subplot(grid[1, k], sharey=figure.axes[3] if k else None)
        _against_the_copy(axes, [row for row in others if row["direction"] == direction], report)
        axes.set_title(f"the others, {direction}", fontsize=10)
        if k:
            axes.tick_params(labelleft=False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    legend = figure.add_subplot(grid[1, 2])
    legend.axis("off")
    legend.legend(handles, labels, loc="upper left", frameon=False)
    write(figure, path)
    return True


def _roofline(axes, rows, numbers, floor, report):
    """Every operation at its FLOP per byte; the number of each stands under it, below the rate `floor`."""
    product, copy = peak_rates.rate(report, peak_rates.PRODUCTS), peak_rates.rate(report, peak_rates.COPY)
    axes.set_xscale("log")
    axes.set_yscale("log")
    intensities = [row["intensity"] for row in rows]
    low, high = min(intensities) / 1.6, max(intensities) * 1.6
    if product and copy:
        ridge = product / copy
        roof = sorted({low, min(max(ridge, low), high), high})
        axes.plot(roof, [min(product, copy * x) for x in roof], color="black", linewidth=1.2,
                  label="roof: measured peaks of\nproducts and of a copy")
    for row in rows:
        own = [row[key] for _, key in SERIES[1:] if key in row]
        axes.plot([row["intensity"]] * 2, [floor, max(own)], color="#d9d9d9", linewidth=0.8, zorder=0)
    for name, key in SERIES:
        there = [row for row in rows if key in row]
        axes.scatter([row["intensity"] for row in there], [row[key] for row in there], s=34, color=COLOURS[name],
                     marker=MARKERS[name], label=LABELS[name], zorder=2 + (name == NFNUMPY))
    for row, height in zip(sorted(rows, key=lambda row: row["intensity"]), _staggered(rows, low, high),
                           strict=True):
        axes.annotate(str(numbers[row["operation"]]), (row["intensity"], floor), xytext=(0, -9.0 * height),
                      textcoords="offset points", ha="center", va="top", fontsize=8)
    axes.set_ylim(bottom=floor * (floor / axes.get_ylim()[1]) ** 0.14)  # space for three lines of numbers
    axes.set_xlim(low, high)
    axes.set_xlabel("FLOP per byte that has to be moved")
    plain_axes(axes)


def _staggered(rows, low, high):
    """0, 1, 2 … for the rows in order of intensity: how many lines lower its number stands, clear of its neighbours."""
    space = 0.045 * math.log(high / low)
    ends, heights = [], []
    for x in sorted(math.log(row["intensity"]) for row in rows):
        height = next((k for k, end in enumerate(ends) if x - end >= space), len(ends))
        ends[height:height + 1] = [x]
        heights.append(height)
    return heights


def _against_the_copy(axes, rows, report):
    """Bytes per second, a line for every operation, and the copy's rate."""
    copy = peak_rates.rate(report, peak_rates.COPY)
    for name, key in SERIES:
        places = [k for k, row in enumerate(rows) if key in row]
        axes.scatter([rows[k][key] for k in places], places, s=34, color=COLOURS[name], marker=MARKERS[name], zorder=2)
    if copy:
        axes.axvline(copy, color="black", linewidth=1.2)
    axes.set_yticks(range(len(rows)), [row["operation"] for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("GB/s of what has to be moved (line: a copy)")
    plain_axes(axes)
