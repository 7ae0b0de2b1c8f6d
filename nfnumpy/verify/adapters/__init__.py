"""Calling a target of any form: what is found out about it from its type and its signature, one file a check."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import Framework
from .dtypes import in_a_dtype_that_works

RECORDED = "gradients recorded in the closure"  # 1 where the closure of step(closure) can compute them


@dataclasses.dataclass(frozen=True)
class Adapter:
    """How a target is run.

    run(case) -> named host arrays, a subset of the reference's; fixed: settings that the target has only one value of;
    takes_model: whether it gets a whole model, and so knows the last layer; notes: for the report; uses: the uses that
    it can be asked about beside the plain one.
    """

    run: Callable[..., Mapping[str, np.ndarray]]
    framework: Framework
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    takes_model: bool = False
    notes: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()

    def __post_init__(self):
        if self.framework.has_layers:
            object.__setattr__(self, "run", in_a_dtype_that_works(self.run, self.framework))


def asked_uses(adapter: Adapter, suffixes: Mapping[str, str],
               case_of: Callable[[str], Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(the uses that the target takes, notes on the others); suffixes: what a use is called; case_of(use): its input.
    """
    refused = {use: refusal(adapter, case_of(use)) for use in adapter.uses}
    notes = tuple(f"not checked{suffixes[use]}: {why}" for use, why in refused.items() if why is not None)
    return tuple(use for use, why in refused.items() if why is None), notes


def refusal(adapter: Adapter, case: Any) -> str | None:
    """Why the target does not take an input case, or None where it does."""
    try:
        adapter.run(case)
    except InputError as error:
        return str(error)
    return None


def title_of(target: Any) -> str:
    """A target's name in reports."""
    return target if isinstance(target, str) else getattr(target, "__qualname__", None) or type(target).__qualname__
