"""Holding an implementation of normalizer-free networks, in any framework, against the reference.

    verdict = nfnumpy.verify.check_agc(my_package.adaptive_clip)
    print(verdict)                                    # conforms, conforms as a named variant, or diverges, and why
    nfnumpy.verify.assert_conforms(verdict)           # in a test
"""

import importlib

from .verdict import CONFORMS, DIVERGES, VARIANT, Difference, Verdict

KINDS = ("activation", "ws_conv", "agc", "sam", "stochastic_depth", "se", "block", "ema", "schedule", "model")


def check(kind, target, **options):
    """The Verdict on `target` as a `kind` (one of KINDS); options as that kind's `check_KIND` has them.

    InputError for an unknown kind, and when the target cannot be run.
    """
    from ..errors import InputError
    if kind not in KINDS:
        raise InputError(f"unknown kind {kind!r}: expected one of {', '.join(KINDS)}")
    return getattr(importlib.import_module(f".checks.{kind}", __name__), f"check_{kind}")(target, **options)


def assert_conforms(verdict, variants=True):
    """Raise AssertionError with the whole report unless the target conforms; variants: harmless forms will do."""
    if verdict.outcome == DIVERGES or verdict.outcome == VARIANT and not variants:
        raise AssertionError(str(verdict))


def __getattr__(name):
    """`check_agc` and the like, each from its own file, which is loaded when it is first asked for."""
    kind = name.removeprefix("check_")
    if name.startswith("check_") and kind in KINDS:
        return getattr(importlib.import_module(f".checks.{kind}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["CONFORMS", "DIVERGES", "Difference", "KINDS", "VARIANT", "Verdict", "assert_conforms", "check",
           *(f"check_{kind}" for kind in KINDS)]
