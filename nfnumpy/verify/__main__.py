"""`python -m nfnumpy.verify`: compare an implementation with the reference, and name what is wrong with it."""

import argparse
import dataclasses
from collections.abc import Sequence

from ..cli import Parser, run
from ..errors import InputError
from ..files import check_writable
from . import KINDS, check, vectors
from .adapters.guarded_call import exits_as_exceptions
from .options import FAIL_ON, add_shared, check_examples, options_of, target_of
from .project.command import main as search_project
from .reports.github import annotation
from .reports.html import write_html
from .reports.json import write_json
from .snippets import snippet
from .snippets.place import definition_of
from .verdict import Verdict

EXAMPLE = """kinds: """ + ", ".join(KINDS) + """; or:
project DIR, to find what can be checked in a repository (see project --help);
vectors DIR, for results that another program wrote

example:
  python -m nfnumpy.verify agc my_package.training:adaptive_clip --html report.html
Exit status: 0 conforms (also as a named variant, but for --fail-on variant), 1 diverges, 2 could not be run."""


def parser() -> Parser:
    """The flags."""
    p = Parser(prog="python -m nfnumpy.verify", epilog=EXAMPLE,
               description="Compare an implementation of normalizer-free networks with the reference.")
    p.add_argument("kind", metavar="KIND", help="what the target is")
    p.add_argument("target", metavar="TARGET", help="package.module:attribute, file.py:attribute, or timm:NAME (model)")
    add_shared(p)
    p.add_argument("--map", metavar="FILE", help="JSON: the target's parameter names to ours (model)")
    p.add_argument("--json", metavar="FILE", help="write the verdict, with the whole counterexample")
    p.add_argument("--html", metavar="FILE", help="write it as one page that loads nothing else")
    return p


def verdict_of(given: argparse.Namespace) -> tuple[Verdict, tuple[str | None, int]]:
    """(the Verdict on the target that the flags name, the file and line of its definition)."""
    if given.kind == "vectors":
        return vectors.check_results(given.target), (None, 1)
    if given.kind not in KINDS:
        raise InputError(f"unknown kind {given.kind!r}: expected one of {', '.join(KINDS)}, project or vectors")
    options = options_of(given)
    if given.map is not None:
        options["map"] = given.map
    target = target_of(given.kind, given.target, options)
    verdict = check(given.kind, target, framework=given.framework, examples=given.examples, name=given.target,
                    **options)
    return dataclasses.replace(verdict, snippet=snippet(target, verdict, options)), definition_of(target)


def main(arguments: Sequence[str]) -> int:
    """Check and report; the exit status is 0 or 1."""
    if arguments[:1] == ["project"]:
        return search_project(arguments[1:])
    given = parser().parse_args(arguments)
    check_examples(given.examples)
    check_writable("--json", given.json)
    check_writable("--html", given.html)
    with exits_as_exceptions():
        verdict, (file, line) = verdict_of(given)
    fails = verdict.outcome in FAIL_ON[given.fail_on]
    for text in verdict.lines():
        print(text)
    if given.github and (noted := annotation(verdict, given.target.rpartition(":")[2], file, line, fails)):
        print(noted)
    if given.json:
        write_json(given.json, verdict)
    if given.html:
        write_html(given.html, verdict)
    return 1 if fails else 0


if __name__ == "__main__":
    run(main)
