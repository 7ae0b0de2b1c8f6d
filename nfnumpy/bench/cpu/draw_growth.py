"""Time and memory of our training step along batch, resolution and depth, beside the arithmetic."""

from .growth import AXES
from .pictures import new_figure, plain_axes, where, write

NAMES = {"batch": "images in the batch", "resolution": "side of the images, pixels", "depth": "residual blocks"}
CURVES = (("time", "ms", "#0072B2", "o", "-"), ("memory", "memory", "#D55E00", "s", "--"),
          ("arithmetic", "arithmetic", "#4d4d4d", None, ":"))


def draw(report, path):
    """Draw the PNG file `path`; False when growth was not measured."""
    fits = report.rows("growth", kind="fit")
    if not fits:
        return False
    figure = new_figure(11.0, 4.3, f"Growth of a training step of {report.facts['options']['growth'][0]}, as multiples "
                                   f"of its leftmost point\n{where(report)}")
    for axes, axis in zip(figure.subplots(1, len(AXES), sharey=True), AXES):
        points = report.rows("growth", kind="point", axis=axis)
        fit, = report.rows("growth", kind="fit", axis=axis)
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
    figure.axes[0].set_ylim(lowest, highest * (highest / lowest) ** 0.4)  # room for the legends
    write(figure, path)
    return True
