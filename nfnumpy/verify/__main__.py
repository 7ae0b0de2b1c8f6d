"""`python -m nfnumpy.verify`: hold an implementation against the reference, and say what is wrong with it."""

from ..cli import Parser, run
from ..errors import InputError
from . import KINDS, check, report, vectors
from .page import write_page
from .targets import load_target

EXAMPLE = """kinds: """ + ", ".join(KINDS) + """; or: vectors DIR, for results that another program wrote

example:
  python -m nfnumpy.verify agc my_package.training:adaptive_clip --html report.html
Exit status: 0 conforms (also as a named variant), 1 diverges, 2 could not be run."""


def parser():
    """The flags."""
    p = Parser(prog="python -m nfnumpy.verify", epilog=EXAMPLE,
               description="Hold an implementation of normalizer-free networks against the reference.")
    p.add_argument("kind", metavar="KIND", help="what the target is")
    p.add_argument("target", metavar="TARGET", help="package.module:attribute, file.py:attribute, or timm:NAME (model)")
    p.add_argument("--framework", default="auto", metavar="NAME", help="auto, torch, jax or numpy (default: auto)")
    p.add_argument("--examples", type=int, default=20, metavar="N", help="problems drawn beside the fixed ones "
                   "(default: 20)")
    p.add_argument("--map", metavar="FILE", help="JSON: the target's parameter names to ours (model)")
    p.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="passed to the target; again for "
                   "more")
    p.add_argument("--json", metavar="FILE", help="write the verdict, with the whole counterexample")
    p.add_argument("--html", metavar="FILE", help="write it as one page that needs nothing else")
    return p


def value_of(text):
    """A flag's text as the number or truth value that it spells, or as it is."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def options_of(pairs):
    """["key=value", …] as a dict."""
    options = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"--option {pair}: expected KEY=VALUE")
        options[key] = value_of(text)
    return options


def main(arguments):
    """Check, report, and leave 0 or 1."""
    given = parser().parse_args(arguments)
    if given.examples < 0:
        raise InputError(f"--examples {given.examples}: expected a whole number that is not negative")
    if given.kind == "vectors":
        verdict = vectors.check_results(given.target)
    else:
        if given.kind not in KINDS:
            raise InputError(f"unknown kind {given.kind!r}: expected one of {', '.join(KINDS)}, or vectors")
        options = options_of(given.option)
        if given.map is not None:
            options["map"] = given.map
        target = given.target if given.kind == "model" and given.target.startswith("timm:") else \
            load_target(given.target)
        verdict = check(given.kind, target, framework=given.framework, examples=given.examples, name=given.target,
                        **options)
    for line in report.lines(verdict):
        print(line)
    if given.json:
        report.write_json(given.json, verdict)
    if given.html:
        write_page(given.html, verdict)
    return 0 if verdict.passed else 1


if __name__ == "__main__":
    run(main)
