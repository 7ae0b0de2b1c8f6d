"""What all pictures share: a figure, its axes, its colours, its file."""

import io
from typing import Any

from ...files import atomic_write
from ..implementations import JAX, NCHW, NFNUMPY, REFERENCE, TORCH
from ..report import Report

DPI = 130
# Colours that can be told apart in all kinds of colour vision (Okabe and Ito); markers repeat the distinction.
COLOURS = {NFNUMPY: "#0072B2", TORCH: "#D55E00", NCHW: "#E69F00", JAX: "#009E73", REFERENCE: "#8c8c8c"}
MARKERS = {NFNUMPY: "o", TORCH: "s", REFERENCE: "x"}
LABELS = {NFNUMPY: "nfnumpy, fast paths", REFERENCE: "nfnumpy, reference mode", TORCH: "PyTorch, channels last",
          NCHW: "PyTorch, channels first", JAX: "JAX"}


def new_figure(width: float, height: float, title: str) -> Any:
    """An empty figure of that many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    return figure


def plain_axes(axes: Any) -> None:
    """No frame but the axes, and a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def write(figure: Any, path: str) -> None:
    """Write the figure as a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    atomic_write(path, content.getvalue())


def machine_line(report: Report) -> str:
    """The machine that was measured, for a title."""
    machine = report.facts["machine"]
    plural = "s" if machine["threads"] > 1 else ""
    return f"{machine['processor']}, {machine['threads']} thread{plural}, float32"
