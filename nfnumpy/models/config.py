"""Checking a configuration when it is made: whoever wrote it, a person or a file."""

import dataclasses
import math

from ..errors import InputError
from ..functional.activations import GAMMA

POSITIVE = ("num_classes", "in_channels", "train_size", "test_size", "group_size", "stem_kernel", "stem_stride")
SHARES = ("drop_rate", "stochdepth_rate")


def check_config(config, per_stage):
    """InputError unless every field of the dataclass `config` has its type and a usable value.

    per_stage: the names of the tuples that hold one positive whole number a stage.
    """
    owner = type(config).__name__
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.type is tuple and isinstance(value, list):
            value = tuple(value)
            object.__setattr__(config, field.name, value)
        if value is None and field.default is None:
            continue
        kinds = (int, float) if field.type is float else field.type
        if not isinstance(value, kinds) or isinstance(value, bool) and field.type is not bool:
            raise InputError(f"{owner}: {field.name}={value!r}: expected {field.type.__name__}")
        if field.type in (int, float) and not (math.isfinite(value) and value >= 0):
            raise InputError(f"{owner}: {field.name}={value!r}: expected a number that is not negative")
        if field.type is tuple and not (value and all(type(item) is int and item > 0 for item in value)):
            raise InputError(f"{owner}: {field.name}={value!r}: expected positive whole numbers")
    for name in POSITIVE:
        if getattr(config, name, 1) < 1:
            raise InputError(f"{owner}: {name}={getattr(config, name)!r}: expected a number above 0")
    for name in SHARES:
        if getattr(config, name) >= 1.0:
            raise InputError(f"{owner}: {name}={getattr(config, name)!r}: expected a number from 0 up to, not "
                             f"including, 1")
    if config.activation not in GAMMA or config.activation == "glu":
        raise InputError(f"{owner}: activation={config.activation!r}: expected one of "
                         f"{', '.join(name for name in GAMMA if name != 'glu')}")
    lengths = {name: len(getattr(config, name)) for name in per_stage}
    if len(set(lengths.values())) != 1:
        raise InputError(f"{owner}: expected one value a stage, got "
                         + ", ".join(f"{count} {name}" for name, count in lengths.items()))
