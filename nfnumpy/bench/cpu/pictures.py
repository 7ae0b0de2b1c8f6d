"""The pictures that a run leaves beside its JSON file."""

import importlib.util
import io

from ...files import atomic_write
from ..timing import one_line
from .contestants import JAX, NCHW, OURS, PLAIN, TORCH

INSTALL = "for pictures: pip install 'nfnumpy[plots]'"
# Colours that people see apart whatever their eyes (Okabe and Ito); shapes tell the same.
COLOURS = {OURS: "#0072B2", TORCH: "#D55E00", NCHW: "#E69F00", JAX: "#009E73", PLAIN: "#8c8c8c"}
MARKERS = {OURS: "o", TORCH: "s", PLAIN: "x"}
LABELS = {OURS: "nfnumpy, fast paths", PLAIN: "nfnumpy, reference mode", TORCH: "PyTorch, channels last",
          NCHW: "PyTorch, channels first", JAX: "JAX"}


def draw_all(report, stem):
    """Draw STEM-bars.png, -roofline.png and -growth.png, those for which there is something to show."""
    if importlib.util.find_spec("matplotlib") is None:
        print(INSTALL, flush=True)
        return
    from . import draw_bars, draw_growth, draw_roofline
    for name, module in (("bars", draw_bars), ("roofline", draw_roofline), ("growth", draw_growth)):
        path = f"{stem}-{name}.png"
        try:
            if module.draw(report, path):
                print(f"drawn: {path}", flush=True)
        except Exception as error:  # a picture less is no reason to lose the status of what was measured
            print(f"{path}: {one_line(error)}", flush=True)


def new_figure(width, height, title):
    """An empty figure of that many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    return figure


def plain_axes(axes):
    """No frame but the axes, and a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def write(figure, path):
    """Put the figure in its file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    atomic_write(path, content.getvalue())


def where(report):
    """On what was measured, for a title."""
    machine = report.facts["machine"]
    return f"{machine['processor']}, {machine['threads']} thread{'s' if machine['threads'] > 1 else ''}, float32"
