"""`python -m nfnumpy.verify project DIR`: list what a repository has that can be checked; check what is picked."""

from collections.abc import Iterable, Sequence

from ...cli import Parser, progress_bar
from ...errors import InputError
from ...files import check_writable
from ..options import FAIL_ON, add_shared, check_examples, options_of
from ..reports import project as reports
from .findings import Finding, Search, search
from .running import Result, Settings, run_check

DESCRIPTION = """Search a repository for convolutions, clippings, optimizers, layers and networks that
can be checked. Its files are read and not run; with --run or --pick each check runs the
code that it is about, in a process of its own."""
EXAMPLE = """example:
  python -m nfnumpy.verify project my_repository
  python -m nfnumpy.verify project my_repository --pick 1,agc,ScaledConv2d --html report.html
Exit status: 0 listed, or all that were checked conform; 1 at least one fails;
2 none fails, but at least one could not be checked."""


def parser() -> Parser:
    """The flags."""
    p = Parser(prog="python -m nfnumpy.verify project", description=DESCRIPTION, epilog=EXAMPLE)
    p.add_argument("folder", metavar="DIR", help="the repository")
    p.add_argument("--run", action="store_true", help="check all findings that can be run from outside")
    p.add_argument("--pick", metavar="LIST", help="check some: numbers, kinds or names, with commas between")
    p.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS", help="for each check (default: 300)")
    add_shared(p)
    p.add_argument("--json", metavar="FILE", help="write the findings and verdicts")
    p.add_argument("--html", metavar="FILE", help="write the report as one page that loads nothing else")
    return p


def main(arguments: Sequence[str]) -> int:
    """List, check what is picked, report; the exit status is 0, 1 or 2."""
    given = parser().parse_args(arguments)
    check_examples(given.examples)
    if not given.timeout > 0.0:
        raise InputError(f"--timeout {given.timeout:g}: expected a positive number of seconds")
    for option in ("json", "html"):
        check_writable(f"--{option}", getattr(given, option))
    settings = Settings(given.timeout, given.framework, given.examples, options_of(given))
    found = search(given.folder)
    chosen = _chosen(found.findings, given.pick, given.run)
    if chosen is None:
        for line in reports.listing(found):
            print(line)
        results = []
    else:
        results = list(_checked(found, chosen, settings, given.github, given.fail_on))
        print(reports.summary(results))
    if given.json:
        reports.write_json(given.json, found, results)
    if given.html:
        reports.write_html(given.html, found, results)
    return 0 if chosen is None else status_of(results, given.fail_on)


def _checked(found: Search, chosen: Iterable[int], settings: Settings, github: bool, fail_on: str):
    """The results one by one, each printed when it is there."""
    for number in progress_bar(list(chosen), desc="checks"):
        result = run_check(found.folder, found.findings[number - 1], settings)
        for line in reports.lines(number, result):
            print(line, flush=True)
        noted = reports.annotation(found.folder, result, fail_on) if github else None
        if noted:
            print(noted, flush=True)
        yield result


def _chosen(findings: Sequence[Finding], pick: str | None, everything: bool) -> list[int] | None:
    """The numbers of the findings to check, from 1; None where they are only listed. InputError for an unknown one."""
    if pick is None:
        if not everything:
            return None
        numbers = [number for number, finding in enumerate(findings, start=1) if not finding.obstacle]
        if not numbers:
            raise InputError("project: nothing was found that can be run from outside")
        return numbers
    numbers = []
    for word in filter(None, (word.strip() for word in pick.split(","))):
        fitting = [number for number, finding in enumerate(findings, start=1)
                   if word in (str(number), finding.kind, finding.name, finding.name.rpartition(".")[2],
                               finding.target, f"{finding.file}:{finding.name}")]
        if not fitting:
            raise InputError(f"--pick {word}: expected a number up to {len(findings)}, a kind or a name of the list")
        numbers += fitting
    if not numbers:
        raise InputError("--pick: expected numbers, kinds or names")
    return list(dict.fromkeys(numbers))


def status_of(results: Iterable[Result], fail_on: str) -> int:
    """1 where a verdict is one of those that fail, else 2 where there is no verdict, else 0."""
    outcomes = [result.verdict and result.verdict.outcome for result in results]
    if any(outcome in FAIL_ON[fail_on] for outcome in outcomes):
        return 1
    return 2 if None in outcomes else 0


__all__ = ["main", "parser", "status_of"]
