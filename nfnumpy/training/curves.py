"""curves.png: loss and accuracy over the epochs."""

import io
from typing import Any

from ..files import atomic_write

TRAIN = "#8c8c8c"
TEST = "#1f6f8b"
AVERAGED = "#d1603d"


def draw_curves(entries: list[dict[str, Any]], path: str, title: str, smoothed: bool = False) -> bool:
    """Draw the evaluations `entries`, at least one, to the PNG file `path`; False when matplotlib is not installed.

    smoothed: whether the training loss is that of smoothed labels; the legend then says so.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        return False
    figure = Figure(figsize=(9.0, 3.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    loss, accuracy = figure.subplots(1, 2)
    epochs = [entry["epoch"] for entry in entries]
    marker = "o" if len(entries) < 3 else None

    def draw(axes: Any, key: str, color: str, label: str, scale: float = 1.0) -> None:
        if all(entry.get(key) is not None for entry in entries):
            axes.plot(epochs, [scale * entry[key] for entry in entries], color=color, label=label, marker=marker)

    training_label = "training, smoothed labels" if smoothed else "training"
    draw(loss, "train_loss", TRAIN, training_label)
    draw(loss, "test_loss", TEST, "test")
    draw(loss, "ema_test_loss", AVERAGED, "test, averaged weights")
    draw(accuracy, "train_accuracy", TRAIN, "training", 100.0)
    draw(accuracy, "test_accuracy", TEST, "test", 100.0)
    draw(accuracy, "ema_test_accuracy", AVERAGED, "test, averaged weights", 100.0)
    for axes, label in ((loss, "cross-entropy"), (accuracy, "accuracy, %")):
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(0.0, 1.05 * epochs[-1])
        axes.margins(y=0.1)
        axes.legend(frameon=False, loc="best")
    loss.set_title(title, fontsize=10)
    accuracy.set_title(f"test {100.0 * entries[-1]['test_accuracy']:.2f} % after epoch {epochs[-1]}", fontsize=10)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    atomic_write(path, content.getvalue())
    return True
