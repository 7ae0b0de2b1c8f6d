"""The report on a repository: what was found, and the verdicts, as text, as JSON, and as one HTML page."""

import dataclasses
import html
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ...cli import printable
from ...files import atomic_write
from ..options import FAIL_ON
from ..project.findings import Search
from ..project.running import Result
from ..verdict import CONFORMS, DIVERGES, VARIANT
from . import github
from .html import COLOURS, details, explanation, page

UNREAD_SHOWN = 5
ALSO_SHOWN = 3
NO_VERDICT = "no verdict"
ORDER = (DIVERGES.headline, NO_VERDICT, VARIANT.headline, CONFORMS.headline)
LONGEST = 100  # characters of a problem in the table


def listing(found: Search) -> Iterator[str]:
    """The findings, a line each."""
    findings = found.findings
    yield printable(f"{_count(len(findings), 'finding')} in {_count(found.files, 'file')} of {found.folder}")
    places, names = ([getattr(finding, what) for finding in findings] for what in ("place", "name"))
    widths = [min(60, max(map(len, column), default=0)) for column in (places, names)]
    previous = True
    for number, finding in enumerate(findings, start=1):
        if previous and not finding.is_likely:
            yield "less certain:"
        previous = finding.is_likely
        yield printable(f"{number:4}  {finding.kind:16} {finding.framework:10} {finding.place:{widths[0]}}  "
                        f"{finding.name:{widths[1]}}  {finding.why}{_remarks(finding)}")
    yield from _unread(found)
    if findings:
        yield "check them with --run, or some with --pick: numbers, kinds or names"


def _remarks(finding):
    also = f"; the same code: {', '.join(finding.also[:ALSO_SHOWN])}" if finding.also else ""
    more = " …" if len(finding.also) > ALSO_SHOWN else ""
    return (f"; not run: {finding.obstacle}" if finding.obstacle else "") + also + more


def _unread(found):
    for file in found.unread[:UNREAD_SHOWN]:
        yield printable(f"not read: {file.path}: {file.why}")
    if len(found.unread) > UNREAD_SHOWN:
        yield f"not read: {len(found.unread) - UNREAD_SHOWN} more (all with --json)"


def _count(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"


def outcome_of(result: Result) -> str:
    """The verdict in a word or two."""
    return result.verdict.outcome.headline if result.verdict else NO_VERDICT


def lines(number: int, result: Result) -> Iterator[str]:
    """One result: the verdict, where, why, the right form, a program that shows it."""
    finding, verdict = result.finding, result.verdict
    yield printable(f"{number:3}  {finding.kind} {finding.name} ({finding.place}): {outcome_of(result)}")
    if verdict is None:
        yield f"     {result.problem}"
        return
    if verdict.outcome == CONFORMS:
        return
    for cause in verdict.causes():
        yield f"     {printable(cause)}"
    if verdict.formula:
        yield f"     right form: {verdict.formula}"
    for line in (verdict.snippet or "").splitlines():
        yield f"       | {printable(line)}".rstrip()


def summary(results: Sequence[Result]) -> str:
    """How many of each outcome."""
    counts = {"conform": CONFORMS.headline, "conform as a named variant": VARIANT.headline,
              "diverge": DIVERGES.headline, "could not be checked": NO_VERDICT}
    found = [outcome_of(result) for result in results]
    return ", ".join(f"{found.count(outcome)} {verb}" for verb, outcome in counts.items() if outcome in found)


def annotation(folder: str, result: Result, fail_on: str) -> str | None:
    """The line for GitHub, at the finding's file and line."""
    finding, verdict = result.finding, result.verdict
    file = os.path.join(folder, finding.file)
    if verdict is None:
        return github.command("warning", file, finding.line, f"{finding.kind} {finding.name} was not checked",
                              result.problem)
    return github.annotation(verdict, finding.name, file, finding.line, verdict.outcome in FAIL_ON[fail_on])


def write_json(path: str | os.PathLike[str], found: Search, results: Sequence[Result]) -> None:
    """Write everything: the findings in the order of the listing, with the verdict or problem of each that was run."""
    atomic_write(path, json.dumps(as_json(found, results), indent=1, default=str, allow_nan=False).encode())


def as_json(found: Search, results: Iterable[Result]) -> dict[str, Any]:
    """The same as a dict."""
    of = {id(result.finding): result for result in results}
    findings = []
    for number, finding in enumerate(found.findings, start=1):
        entry = {"number": number, **dataclasses.asdict(finding)}
        result = of.get(id(finding))
        if result is not None:
            entry |= {"verdict": result.verdict.as_json()} if result.verdict else {"problem": result.problem}
        findings.append(entry)
    unread = [dataclasses.asdict(file) for file in found.unread]
    return {"folder": found.folder, "files": found.files, "unread": unread, "findings": findings}


def write_html(path: str | os.PathLike[str], found: Search, results: Sequence[Result]) -> None:
    """Write the page to `path`, whole or not at all."""
    atomic_write(path, html_page(found, results).encode())


def html_page(found: Search, results: Sequence[Result]) -> str:
    """A table of all results, the worst first, then a section for each that does not conform.

    Of a search alone, a table of the findings.
    """
    name = os.path.basename(os.path.abspath(found.folder))
    if not results:
        listed = [(f"{finding.kind} {finding.name}", finding.place, finding.why, "") for finding in found.findings]
        return page(f"What can be checked in {name}", _table(("what", "where", "why"), listed))
    results = sorted(results, key=lambda result: ORDER.index(outcome_of(result)))
    rows = [(f"{result.finding.kind} {result.finding.name}", result.finding.place, _in_short(result),
             outcome_of(result), COLOURS[result.verdict.outcome] if result.verdict else "") for result in results]
    parts = [f"<p>{html.escape(summary(results))}. Compared with nfnumpy, the reference implementation of "
             "normalizer-free networks.</p>", *_table(("what", "where", "why", "verdict"), rows)]
    for result in results:
        parts += _section(result)
    return page(f"{name}: verdicts", parts)


def _in_short(result):
    if result.verdict is None:
        return result.problem if len(result.problem) <= LONGEST else f"{result.problem[:LONGEST]} …"
    return ", ".join(result.verdict.diagnosis) or ("" if result.verdict.passed else "no known form reproduces it")


def _table(titles, rows):
    yield f"<table class=left><tr>{''.join(f'<th>{title}</th>' for title in titles)}</tr>"
    for *cells, colour in rows:
        style = f" style='color:{colour}'" if colour else ""
        shown = [f"<td>{html.escape(cell)}</td>" for cell in cells]
        shown[-1] = shown[-1].replace("<td>", f"<td{style}>", 1)
        yield f"<tr>{''.join(shown)}</tr>"
    yield "</table>"


def _section(result: Result) -> Iterator[str]:
    finding, verdict = result.finding, result.verdict
    if verdict is not None and verdict.outcome == CONFORMS:
        return
    colour = COLOURS[verdict.outcome] if verdict else "#555"
    yield (f"<section><h1>{html.escape(f'{finding.kind} {finding.name}')} "
           f"<span style='color:{colour}'>{outcome_of(result)}</span></h1><p>{html.escape(finding.place)}</p>")
    if verdict is None:
        yield f"<p>{html.escape(result.problem)}</p>"
    else:
        yield from explanation(verdict)
        yield from details(verdict)
    yield "</section>"
