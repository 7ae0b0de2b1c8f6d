"""The pictures that a run leaves beside its JSON file."""

import importlib.util

from ..report import Report
from ..timing import one_line
from . import bars, roofline, scaling

INSTALL = "for pictures: pip install 'nfnumpy[plots]'"


def draw_all(report: Report, stem: str) -> None:
    """Draw STEM-bars.png, -roofline.png and -scaling.png, those for which there is something to show."""
    if importlib.util.find_spec("matplotlib") is None:
        print(INSTALL, flush=True)
        return
    for name, module in (("bars", bars), ("roofline", roofline), ("scaling", scaling)):
        path = f"{stem}-{name}.png"
        try:
            if module.draw(report, path):
                print(f"drawn: {path}", flush=True)
        except Exception as error:  # without a picture, the measurements and their status still count
            print(f"{path}: {one_line(error)}", flush=True)
