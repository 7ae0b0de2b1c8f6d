"""The comparison of an implementation of normalizer-free networks, in any framework, with the reference.

    verdict = nfnumpy.verify.check_agc(my_package.adaptive_clip)
    print(verdict)                                    # conforms, conforms as a named variant, or diverges, and why
    nfnumpy.verify.assert_conforms(verdict)           # in a test
"""

from collections.abc import Callable
from typing import Any

from ..errors import InputError
from .checks.activation import check_activation
from .checks.agc import check_agc
from .checks.block import check_block
from .checks.ema import check_ema
from .checks.model import check_model
from .checks.norm import check_norm
from .checks.sam import check_sam
from .checks.schedule import check_schedule
from .checks.se import check_se
from .checks.stochastic_depth import check_stochastic_depth
from .checks.ws_conv import check_ws_conv
from .verdict import CONFORMS, DIVERGES, VARIANT, Difference, Outcome, Verdict

CHECKS: dict[str, Callable[..., Verdict]] = {
    "activation": check_activation, "ws_conv": check_ws_conv, "agc": check_agc, "sam": check_sam,
    "stochastic_depth": check_stochastic_depth, "se": check_se, "norm": check_norm, "block": check_block,
    "ema": check_ema, "schedule": check_schedule, "model": check_model}
KINDS = tuple(CHECKS)


def check(kind: str, target: Any, **options: Any) -> Verdict:
    """The Verdict on `target` by the check called `kind` (one of KINDS); options as that check's function has them.

    InputError for an unknown kind, and when the target cannot be run.
    """
    if kind not in CHECKS:
        raise InputError(f"unknown kind {kind!r}: expected one of {', '.join(KINDS)}")
    return CHECKS[kind](target, **options)


def assert_conforms(verdict: Verdict, variants: bool = True) -> None:
    """Raise AssertionError with the whole report unless the target conforms; variants: benign forms conform too."""
    if not verdict.passed or (verdict.outcome == VARIANT and not variants):
        raise AssertionError(str(verdict))


__all__ = ["CHECKS", "CONFORMS", "DIVERGES", "KINDS", "VARIANT", "Difference", "Outcome", "Verdict", "assert_conforms",
           "check", "check_activation", "check_agc", "check_block", "check_ema", "check_model", "check_norm",
           "check_sam", "check_schedule", "check_se", "check_stochastic_depth", "check_ws_conv"]
