"""Time and memory of our training step along batch, resolution and depth, beside the arithmetic."""

from ..cases.scaling import AXES
from ..report import Report
from .figure import machine_line, new_figure, plain_axes, write

NAMES = {"batch": "images in the batch", "resolution": "side of the images, pixels", "depth": "residual blocks"}
CURVES = (("time", "ms", "#0072B2", "o", "-"), ("memory", "memory", "#D55E00", "s", "--"),
          ("arithmetic", "arithmetic", "#4d4d4d", None, ":"))


def draw(report: Report, path: str) -> bool:
    """Draw the PNG file `path`; False when scaling was not measured."""
    if not report.rows("scaling", kind="fit"):
        return False
    figure = new_figure(11.0, 4.3, f"Scaling of a training step of {report.facts['options']['scaling'][0]}, as "
                                   f"multiples of its leftmost point\n{machine_line(report)}")
    for axes, axis in zip(figure.subplots(1, len(AXES), sharey=True), AXES, strict=True):
        points = report.rows("scaling", kind="point", axis=axis)
        fit, = report.rows("scaling", kind="fit", axis=axis)
        values = [point["value"] for point in points]
        for name, key, colour, marker, line in CURVES:
            axes.plot(values, [point[key] / points[0][key] for point in points], color=colour, marker=marker,
                      linestyle=line, label=f"{name}: exponent {fit[name]:.2f}")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(values, values)
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}×")
        axes.set_xlabel(NAMES[axis])
        axes.legend(frameon=False, loc="upper left")
        plain_axes(axes)
    figure.axes[0].set_ylabel("time, memory, multiply-adds")
    lowest, highest = figure.axes[0].get_ylim()
    figure.axes[0].set_ylim(lowest, highest * (highest / lowest) ** 0.4)  # space for the legends
    write(figure, path)
    return True
