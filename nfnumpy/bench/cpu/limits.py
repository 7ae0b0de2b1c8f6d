"""The bars that a run of the CPU measurements is held against: PyTorch's time is that of its channels-last side."""

from ..bars import Bar
from .contestants import TORCH
from .growth import AXES
from .networks import WORKS, section_of
from .update import EAGER, TOGETHER

LIMITS = {("nfnet_f0", "training"): 0.8}  # of our time over PyTorch's; 1 where nothing is said
SLACK = 0.1  # of an exponent that was fitted to a few noisy points


def bars_of(plan):
    """The bars of the models in `plan`, and those that any run has."""
    pairs = [(model, work) for model in plan.models for work in WORKS[::-1]]
    return [
        *(Bar(f"{model}, {work}: time over PyTorch's", "≤", LIMITS.get((model, work), 1.0), section_of(model),
              {"work": work, "contestant": TORCH}, "ratio") for model, work in pairs),
        *(Bar(f"{model}, {work}: peak memory over PyTorch's", "≤", 1.0, section_of(model),
              {"work": work, "contestant": TORCH}, "memory_ratio") for model, work in pairs),
        Bar(f"AGC and update of {plan.update_model}: time over PyTorch's", "≤", 0.4, "update",
            {"work": TOGETHER, "contestant": EAGER}, "ratio"),
        *(Bar(f"growth with {axis}: exponent of {what} beyond the arithmetic's", "≤", SLACK, "growth",
              {"axis": axis, "kind": "fit"}, key) for axis in AXES
          for what, key in (("time", "excess"), ("memory", "memory_excess")))]
