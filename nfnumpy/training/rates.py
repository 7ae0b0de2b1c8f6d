"""The rates of dropout and stochastic depth: options of a run, and fields of a network's configuration.

Used by: run.py, initial_weights.py. Test: reference_tests/training/test_running_statistics.py.
"""

from typing import Any

from ..errors import InputError
from .options import TrainingOptions, flag

FIELDS = {"dropout": "drop_rate", "stochdepth_rate": "stochdepth_rate"}  # option: field, which not every family has


def rates_of(config: Any) -> dict[str, Any]:
    """The options that say what `config` has; None where its family has no such rate."""
    return {option: getattr(config, field, None) for option, field in FIELDS.items()}


def changes_of(options: TrainingOptions, name: str, config: Any) -> dict[str, float]:
    """The fields that `options` change in `config`, of the model called `name`; InputError for a rate it has not."""
    changes = {}
    for option, field in FIELDS.items():
        rate = getattr(options, option)
        if rate is not None and not hasattr(config, field):
            raise InputError(f"{flag(option)} {rate}: {name} has no such rate")
        if rate is not None:
            changes[field] = rate
    return changes
