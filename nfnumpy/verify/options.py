"""What the forms of the command share: flags, their values, the target that they name, and the exit status."""

import argparse
from collections.abc import Iterable
from typing import Any

from ..errors import InputError
from .arguments import with_arguments
from .targets import load_target
from .verdict import CONFORMS, DIVERGES, Outcome

TARGETS_OWN = "target."  # before an option that is the target's alone, even where the check has one of this name
FAIL_ON = {"diverges": (DIVERGES,), "variant": tuple(outcome for outcome in Outcome if outcome != CONFORMS)}


def add_shared(p: argparse.ArgumentParser) -> None:
    """The flags of both forms."""
    p.add_argument("--framework", default="auto", metavar="NAME", help="auto, keras, tensorflow, torch, haiku, "
                   "flax, equinox, jax or numpy (default: auto)")
    p.add_argument("--examples", type=int, default=20, metavar="N", help="input cases drawn beside the fixed ones "
                   "(default: 20)")
    p.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="passed to the target, and used "
                   "by the check where it has this option; target.KEY=VALUE is for the target alone; again for more")
    p.add_argument("--means", action="append", default=[], metavar="ROLE=NAME", help="what the target calls clipping, "
                   "eps, rho, decay, peak …, where its name is not known; again for more")
    p.add_argument("--fail-on", choices=tuple(FAIL_ON), default="diverges", help="what makes the exit status 1: "
                   "diverges (default), or variant: also what conforms as a named variant")
    p.add_argument("--github", action="store_true", help="print annotations of GitHub's workflows, too")


def value_of(text: str) -> int | float | bool | str | None:
    """A flag's text as the number or truth value that it spells, or as it is."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def options_of(given: argparse.Namespace) -> dict[str, Any]:
    """The options of a check that the flags --option and --means give."""
    means = {role: str(name) for role, name in _pairs(given.means, "--means", "ROLE=NAME").items()}
    return {**_pairs(given.option, "--option", "KEY=VALUE"), **({"means": means} if means else {})}


def _pairs(pairs: Iterable[str], flag: str, form: str) -> dict[str, Any]:
    """["key=value", …] of a flag as a dict."""
    options = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.removeprefix(TARGETS_OWN).isidentifier():
            raise InputError(f"{flag} {pair}: expected {form}")
        options[key] = value_of(text)
    return options


def check_examples(examples: int) -> None:
    """InputError for a number of examples below 0."""
    if examples < 0:
        raise InputError(f"--examples {examples}: expected a whole number that is not negative")


def target_of(kind: str, text: str, options: dict[str, Any]) -> Any:
    """The target that `text` names for a check: an object, or the text itself where it is a model of timm's.

    Options that begin with "target." are taken out of `options` and given to the target.
    """
    own = {key.removeprefix(TARGETS_OWN): options.pop(key) for key in list(options) if key.startswith(TARGETS_OWN)}
    target = text if kind == "model" and text.startswith("timm:") else load_target(text)
    return with_arguments(target, own) if own else target
