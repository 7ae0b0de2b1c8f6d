"""Checks of the numbers that optimizers and schedules are given.

Used by: agc.py, ema.py, global_norm.py, sam.py, schedules.py, sgd.py. Test: reference_tests/optim/test_misuse.py.
"""

import math
import numbers
from typing import Any


def is_finite_number(value: Any) -> bool:
    """Whether `value` is a real number of any kind that a float can represent: not infinite, not NaN, not 10⁴⁰⁰."""
    try:
        return isinstance(value, numbers.Real) and math.isfinite(value)
    except OverflowError:
        return False
