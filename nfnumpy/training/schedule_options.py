"""The options of the learning rate's decay: the schedules, their default factors, and milestones as text.

Used by: options.py, optimizers.py. Test: reference_tests/training/test_optimizers.py.
"""

import math

from ..errors import InputError

FACTORS = {"exponential": 0.97, "step": 0.1}  # of --decay-rate: EfficientNet's and the ResNets'
SCHEDULES = ("cosine", *FACTORS)


def parsed_milestones(text: str | None) -> list[float] | None:
    """The epochs in the value of --decay-milestones, such as "30,60,80"; None for none.

    InputError unless they are numbers above 0 that rise.
    """
    if text is None:
        return None
    try:
        epochs = [float(part) for part in text.split(",")]
    except ValueError:
        epochs = []
    rise = all(before < after for before, after in zip([0.0, *epochs], epochs, strict=False))
    if not epochs or not rise or not math.isfinite(epochs[-1]):
        raise InputError(f"--decay-milestones {text}: expected epochs above 0 that rise, separated by commas, such as "
                         f"30,60,80")
    return epochs
