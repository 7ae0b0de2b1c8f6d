"""Options of a run that are fields of a network's configuration: rates of dropout and stochastic depth, normalization.

Used by: run.py, initial_weights.py. Test: reference_tests/training/test_running_statistics.py.
"""

from typing import Any

from ..errors import InputError
from .options import TrainingOptions, flag

# option: field, which not every family has
FIELDS = {"dropout": "drop_rate", "stochdepth_rate": "stochdepth_rate", "norm": "norm"}


def options_of(config: Any) -> dict[str, Any]:
    """The options that say what `config` has; None where its family has no such field."""
    return {option: getattr(config, field, None) for option, field in FIELDS.items()}


def changes_of(options: TrainingOptions, name: str, config: Any) -> dict[str, Any]:
    """The fields that `options` change in `config`, of the model called `name`; InputError for a field it has not."""
    changes = {}
    for option, field in FIELDS.items():
        value = getattr(options, option)
        if value is not None and not hasattr(config, field):
            missing = "normalization to exchange" if option == "norm" else "such rate"
            raise InputError(f"{flag(option)} {value}: {name} has no {missing}")
        if value is not None:
            changes[field] = value
    return changes
