"""Checking a model's configuration when it is created, from Python or from a file.

Used by: the families' files of models/. Test: reference_tests/models/test_validation.py.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError
from ..functional.activations import GAMMA
from ..nn import NORMS
from ..validation import NOT_NEGATIVE, POSITIVE, SHARE, check_fields

POSITIVE_FIELDS = ("num_classes", "in_channels", "train_size", "test_size", "group_size", "stem_kernel", "stem_stride",
                   "stem_width", "head_width", "widths", "depths", "strides", "kernels", "expansions", "stem_widths",
                   "stem_strides", "growth", "bottleneck", "compression", "pool_widths", "factorized_widths",
                   "width_factor")
SHARES = ("drop_rate", "stochdepth_rate")
ACTIVATIONS = tuple(name for name in GAMMA if name != "glu")  # glu halves the channels


def check_config(config: Any, per_stage: tuple[str, ...], choices: Mapping[str, Sequence[Any]] | None = None) -> None:
    """InputError unless every field of the dataclass `config` has its type and a usable value.

    per_stage: the names of the tuples that hold one positive whole number a stage; choices: name -> the values that a
    field may have, for those that only this family has.
    """
    intervals = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            intervals[field.name] = NOT_NEGATIVE
    intervals |= dict.fromkeys(POSITIVE_FIELDS, POSITIVE) | dict.fromkeys(SHARES, SHARE)
    check_fields(config, intervals, {"activation": ACTIVATIONS, "norm": tuple(NORMS), **(choices or {})})
    lengths = {name: len(getattr(config, name)) for name in per_stage}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{type(config).__name__}: expected one value a stage, got "
                         + ", ".join(f"{count} {name}" for name, count in lengths.items()))
