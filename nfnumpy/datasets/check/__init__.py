"""Reading all of a data set once: what it is made of, what in it is broken, and what should be looked at."""

from .findings import Findings, examine_dataset
from .report import to_json, to_text
from .sheet import draw_samples

__all__ = ["Findings", "draw_samples", "examine_dataset", "to_json", "to_text"]
