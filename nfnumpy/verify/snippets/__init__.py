"""A program that shows a difference: it builds the counterexample, calls the target, prints both results.

It is written in the target's framework and needs nothing of nfnumpy. Every program is run before it is returned: it
must reproduce the results that the check saw.
"""

import contextlib
import io
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..verdict import DIVERGES, Verdict
from . import clipping, functions, modules, normalizations, optimizers
from .code import Program
from .place import Place, place_of

FORMS = {"agc": clipping.forms, "ws_conv": modules.convolution_forms, "se": modules.squeeze_excite_forms,
         "norm": normalizations.norm_forms, "activation": functions.activation_forms,
         "schedule": functions.schedule_forms, "ema": functions.average_forms, "sam": optimizers.sam_forms}
MOST_NUMBERS = 600  # of a program
AGREEING = 0.01  # of the difference: how near a program's result is to the one that the check saw


def snippet(target: Any, verdict: Verdict, options: Mapping[str, Any]) -> str | None:
    """The program for a verdict that diverges; one that runs the check again where no form reproduces it.

    None where the target has no place of its own. options: those that the check got.
    """
    place = place_of(target, verdict.target)
    if verdict.outcome != DIVERGES or place is None:
        return None
    if verdict.results and verdict.counterexample and verdict.kind in FORMS:
        for is_short in (True, False):
            with contextlib.suppress(Exception):
                for program in _programs(target, verdict, dict(options), place, is_short):
                    if _shows(program, target, place, verdict):
                        return program.text()
    return _check_again(verdict, options, place)


def _programs(target, verdict, options, place, is_short) -> Iterator[Program]:
    for tensor in verdict.results:
        program = Program(place, verdict, tensor, is_short, options.get("means", {}))
        if program.size <= MOST_NUMBERS:
            own = {name: value for name, value in options.items() if name != "means"}
            yield from FORMS[verdict.kind](program, target, own)


def _shows(program, target, place, verdict):
    """Whether the program runs and its `yours` is what the check saw."""
    results = verdict.results[program.tensor]
    seen, right = (np.asarray(program.in_layout(np.asarray(results[which], dtype=np.float64)))
                   for which in ("target", "reference"))
    names: dict[str, Any] = {"__name__": "snippet"}
    try:
        with (_importable(place, target), _same_floatx(), contextlib.redirect_stdout(io.StringIO()),
              np.errstate(all="ignore")):
            exec(compile(program.text(), "snippet.py", "exec"), names)
        yours = np.asarray(program.framework.host(names["yours"]), dtype=np.float64)
    except (Exception, SystemExit):
        return False
    if seen.shape != right.shape:
        return yours.shape == seen.shape
    rounded = right.astype(np.float32) if program.is_short else right
    if yours.size != seen.size:
        return False
    with np.errstate(all="ignore"):
        difference = np.max(np.abs(seen - right), initial=0.0)
        error = max(np.max(np.abs(yours.reshape(seen.shape) - seen), initial=0.0),
                    np.max(np.abs(rounded - right), initial=0.0))
    return bool(error <= AGREEING * difference) if np.isfinite(difference) else True


@contextlib.contextmanager
def _same_floatx() -> Iterator[None]:
    """Keras's default dtype is afterwards what it was before."""
    keras = sys.modules.get("keras")
    before = keras and keras.config.floatx()
    try:
        yield
    finally:
        if keras:
            keras.config.set_floatx(before)


@contextlib.contextmanager
def _importable(place: Place, target: Any) -> Iterator[None]:
    """The target's module under the name by which the program imports it."""
    before = sys.modules.get(place.module)
    module = types.ModuleType(place.module)
    owner = sys.modules.get(getattr(target, "__module__", None) or "")
    setattr(module, place.name, getattr(owner, place.name, target))
    sys.modules[place.module] = module
    try:
        yield
    finally:
        if before is None:
            del sys.modules[place.module]
        else:
            sys.modules[place.module] = before


def _check_again(verdict, options, place):
    given = "".join(f", {name}={value!r}" for name, value in options.items())
    return "\n".join([*place.heading(verdict.kind, None), "import nfnumpy as nf", place.import_line(), "",
                      f"print(nf.verify.check_{verdict.kind}({place.attribute}{given}))", ""])


__all__ = ["snippet"]
