"""`python -m nfnumpy.verify`: compare an implementation with the reference, and name what is wrong with it."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from ..cli import Parser, run
from ..errors import InputError
from ..files import check_writable
from . import KINDS, check, vectors
from .reports.html import write_html
from .reports.json import write_json
from .targets import load_target
from .verdict import Verdict

EXAMPLE = """kinds: """ + ", ".join(KINDS) + """; or: vectors DIR, for results that another program wrote

example:
  python -m nfnumpy.verify agc my_package.training:adaptive_clip --html report.html
Exit status: 0 conforms (also as a named variant), 1 diverges, 2 could not be run."""


def parser() -> Parser:
    """The flags."""
    p = Parser(prog="python -m nfnumpy.verify", epilog=EXAMPLE,
               description="Compare an implementation of normalizer-free networks with the reference.")
    p.add_argument("kind", metavar="KIND", help="what the target is")
    p.add_argument("target", metavar="TARGET", help="package.module:attribute, file.py:attribute, or timm:NAME (model)")
    p.add_argument("--framework", default="auto", metavar="NAME", help="auto, torch, jax or numpy (default: auto)")
    p.add_argument("--examples", type=int, default=20, metavar="N", help="input cases drawn beside the fixed ones "
                   "(default: 20)")
    p.add_argument("--map", metavar="FILE", help="JSON: the target's parameter names to ours (model)")
    p.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="passed to the target; again for "
                   "more")
    p.add_argument("--json", metavar="FILE", help="write the verdict, with the whole counterexample")
    p.add_argument("--html", metavar="FILE", help="write it as one page that loads nothing else")
    return p


def value_of(text: str) -> int | float | bool | str | None:
    """A flag's text as the number or truth value that it spells, or as it is."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def options_of(pairs: Iterable[str]) -> dict[str, Any]:
    """["key=value", …] as a dict."""
    options = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"--option {pair}: expected KEY=VALUE")
        options[key] = value_of(text)
    return options


def verdict_of(given: argparse.Namespace) -> Verdict:
    """The Verdict on the target that the flags name."""
    if given.kind == "vectors":
        return vectors.check_results(given.target)
    if given.kind not in KINDS:
        raise InputError(f"unknown kind {given.kind!r}: expected one of {', '.join(KINDS)}, or vectors")
    options = options_of(given.option)
    if given.map is not None:
        options["map"] = given.map
    of_timm = given.kind == "model" and given.target.startswith("timm:")
    target = given.target if of_timm else load_target(given.target)
    return check(given.kind, target, framework=given.framework, examples=given.examples, name=given.target, **options)


def main(arguments: Sequence[str]) -> int:
    """Check and report; the exit status is 0 or 1."""
    given = parser().parse_args(arguments)
    if given.examples < 0:
        raise InputError(f"--examples {given.examples}: expected a whole number that is not negative")
    check_writable("--json", given.json)
    check_writable("--html", given.html)
    verdict = verdict_of(given)
    for line in verdict.lines():
        print(line)
    if given.json:
        write_json(given.json, verdict)
    if given.html:
        write_html(given.html, verdict)
    return 0 if verdict.passed else 1


if __name__ == "__main__":
    run(main)
