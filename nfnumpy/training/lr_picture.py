"""lr.png: the loss of a learning rate range test over the learning rate.

Used by: training/find_lr.py.
"""

import io
from collections.abc import Sequence
from typing import Any

from ..files import atomic_write

STEPS = "#c4c4c4"
SMOOTHED = "#1f6f8b"
SUGGESTED = "#d1603d"


def draw_range_test(steps: Sequence[Any], suggested: float | None, path: str, title: str) -> bool:
    """Draw the find_lr.RangeSteps to the PNG file `path`; False when matplotlib is not installed.

    suggested: the learning rate to mark, if there is one.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(6.4, 3.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    rates = [step.lr for step in steps]
    axes.plot(rates, [step.loss for step in steps], color=STEPS, linewidth=1.0, label="loss of a step")
    axes.plot(rates, [step.smoothed_loss for step in steps], color=SMOOTHED, label="smoothed")
    if suggested is not None:
        axes.axvline(suggested, color=SUGGESTED, linestyle="--", label=f"suggested: {suggested:g}")
    if steps:
        lowest = min(min(step.loss for step in steps), min(step.smoothed_loss for step in steps))
        axes.set_ylim(0.9 * lowest, 1.6 * steps[0].loss)  # the last steps may be far above
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("cross-entropy")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    atomic_write(path, content.getvalue())
    return True
