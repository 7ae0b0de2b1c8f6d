"""What all pictures of an evaluation share: a figure of matplotlib, and names as they are drawn.

Used by: confusion_picture.py, pictures.py. Test: reference_tests/evaluation/test_pictures.py.
"""

import io
from typing import Any

from ..cli import printable

BLUE, ORANGE, GREY = "#1f6f8b", "#d1603d", "#8c8c8c"
LONGEST_NAME = 24  # characters


def new_figure(width: float, height: float) -> Any:
    """A figure of that many inches, at 120 pixels an inch; ImportError without matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png_of(figure: Any) -> bytes:
    """The figure as a PNG."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def drawn_name(name: str, longest: int = LONGEST_NAME) -> str:
    """The name of a class in printable characters, its end replaced by … where it is long."""
    text = printable(name)
    return text if len(text) <= longest else text[:longest - 1] + "…"
