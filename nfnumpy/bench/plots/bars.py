"""A bar for every implementation and network: how fast beside PyTorch, and how much memory."""

from typing import Any

from ..implementations import JAX, NCHW, NFNUMPY, REFERENCE, TORCH
from ..report import Report
from .figure import COLOURS, LABELS, machine_line, new_figure, plain_axes, write

ORDER = (NFNUMPY, TORCH, NCHW, JAX, REFERENCE)
PANELS = (("training", "ms", "training step:\ntimes as fast as\nPyTorch, channels last", "higher is better"),
          ("inference", "ms", "inference:\ntimes as fast as\nPyTorch, channels last", "higher is better"),
          ("training", "memory", "training step:\npeak memory, GB", "lower is better"))


def draw(report: Report, path: str) -> bool:
    """Draw the PNG file `path`; False when no network was measured."""
    rows = [row for name in report.sections if name.startswith("network ") for row in report.rows(name)]
    models = list(dict.fromkeys(row["model"] for row in rows))
    known = {(row["model"], row["work"], row["implementation"]): row for row in rows}
    present = [name for name in ORDER if any(row["implementation"] == name for row in rows)]
    if not rows:
        return False
    figure = new_figure(max(9.0, 1.5 + 1.7 * len(models)), 9.0, f"nfnumpy beside PyTorch\n{machine_line(report)}")
    for axes, (work, key, label, direction) in zip(figure.subplots(len(PANELS), 1, sharex=True), PANELS,
                                                         strict=True):
        _panel(axes, models, present, known, work, key)
        axes.set_ylabel(label)
        axes.set_title(direction, fontsize=8, loc="right", style="italic")
    axes.set_xticks(range(len(models)), [_described(report, model, rows) for model in models])
    figure.legend(*_legend_of(figure.axes), loc="outside lower center", ncols=3 if len(models) < 5 else len(present),
                  frameon=False)
    write(figure, path)
    return True


def _described(report, model, rows):
    row = next(row for row in rows if row["model"] == model)
    return f"{model}\n{row['batch']} images of {row['pixels']} px"


def _legend_of(panels):
    """Handles and labels of every implementation that a panel shows."""
    found = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    return list(found.values()), list(found)


def _panel(axes: Any, models: list[str], present: list[str], known: dict[tuple, dict], work: str, key: str) -> None:
    """Groups of bars; over each, its milliseconds or gigabytes."""
    width = 0.84 / len(present)
    for position, name in enumerate(present):
        xs, heights, texts = [], [], []
        for group, model in enumerate(models):
            own, base = known.get((model, work, name), {}), known.get((model, work, TORCH), {})
            if key == "ms" and "ms" in own and "ms" in base:
                height, text = base["ms"] / own["ms"], _milliseconds(own["ms"])
            elif key == "memory" and own.get("memory"):
                height = own["memory"] / 1e9
                text = f"{height:.2f}"
            else:
                continue
            xs.append(group + width * (position - (len(present) - 1) / 2))
            heights.append(height)
            texts.append(text)
        if xs:
            bars = axes.bar(xs, heights, 0.92 * width, color=COLOURS[name], label=LABELS[name])
            axes.bar_label(bars, texts, rotation=90, padding=3, fontsize=7.5,
                           bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})
    plain_axes(axes)
    axes.grid(visible=False, axis="x")
    axes.margins(y=0.3)
    if key == "ms":
        axes.axhline(1.0, color="black", linewidth=0.8, zorder=1.5)


def _milliseconds(value):
    return f"{value / 1e3:.2f} s" if value >= 1e3 else f"{value:.3g} ms"
