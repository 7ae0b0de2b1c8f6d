"""A verdict as one HTML page that loads nothing: no script, no font, no picture from elsewhere."""

import html
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence

from ...files import atomic_write
from ..verdict import CONFORMS, DIVERGES, VARIANT, Difference, Verdict, finite_json

COLOURS = {CONFORMS: "#1a7f37", VARIANT: "#9a6700", DIVERGES: "#b42318"}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem }
h1 { font-size: 1.4rem; margin-bottom: 0 } .outcome { font-size: 1.2rem; font-weight: 600; margin-top: .2rem }
h2 { font-size: 1.1rem; margin-top: 2rem } code, pre { font: 13px/1.4 ui-monospace, monospace }
pre { background: #f5f5f5; padding: .8rem; overflow: auto; max-height: 20rem; white-space: pre-wrap }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left } .off td { color: #b42318 } dt { font-weight: 600 }
dd { margin: 0 0 .6rem 1rem } figure { margin: 1rem 0; overflow: auto } figcaption { color: #555; font-size: .9rem }
.formula { border-left: 3px solid #1a7f37; padding-left: .8rem } .left td, .left th { text-align: left;
           vertical-align: top }
section { border-top: 1px solid #ddd; margin-top: 2.5rem } summary { cursor: pointer; color: #555 }
"""
SMALLEST_POWER, LARGEST_POWER = -2.0, 18.0  # powers of ten of an epsilon that the plot shows
ROW, LABEL, PLOT = 18, 250, 480  # pixels


def html_page(verdict: Verdict) -> str:
    """The page's text."""
    title = f"{verdict.kind}: {verdict.target}"
    return page(title, [
        f"<p class='outcome' style='color:{COLOURS[verdict.outcome]}'>{verdict.outcome.headline}</p>",
        *_first_difference(verdict), *explanation(verdict), *_differences(verdict), *_counterexample(verdict),
        *_notes(verdict.notes)])


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page with a heading; parts: HTML."""
    return "".join([
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>{html.escape(title)}</title><meta name='viewport' content='width=device-width'><style>{STYLE}</style>",
        f"</head><body><h1>{html.escape(title)}</h1>", *parts, "</body></html>\n"])


def explanation(verdict: Verdict) -> Iterator[str]:
    """The cause, the right form, and the program that shows the difference."""
    yield from _diagnosis(verdict)
    if verdict.formula:
        yield f"<h2>The right form</h2><p class=formula>{html.escape(verdict.formula)}</p>"
    if verdict.snippet:
        yield f"<h2>A program that shows it</h2><pre>{html.escape(verdict.snippet)}</pre>"


def details(verdict: Verdict) -> Iterator[str]:
    """The errors of all tensors and the notes, folded."""
    yield "<details><summary>Errors of all tensors, and notes</summary>"
    yield from _differences(verdict)
    yield from _notes(verdict.notes)
    yield "</details>"


def write_html(path: str | os.PathLike[str], verdict: Verdict) -> None:
    """Write the page to `path`, whole or not at all."""
    atomic_write(path, html_page(verdict).encode())


def _first_difference(verdict):
    first = verdict.first_difference
    if first is not None:
        yield f"<p>First tensor that rounding does not explain: <code>{html.escape(first.tensor)}</code>.</p>"


def _diagnosis(verdict):
    if verdict.diagnosis:
        yield "<h2>What it is</h2><dl>"
        for name, sentence in zip(verdict.diagnosis, verdict.explanation, strict=True):
            yield f"<dt>{html.escape(name)}</dt><dd>{html.escape(sentence)}</dd>"
        yield "</dl>"
    elif verdict.outcome == DIVERGES:
        yield "<h2>What it is</h2><p>No known form reproduces it."
        if verdict.nearest:
            yield f" The nearest is: {html.escape(' with '.join(verdict.nearest))}."
        for variants, names in verdict.partly:
            yield f"<br>Explained by {html.escape(variants)}: {html.escape(', '.join(names))}."
        if verdict.partly:
            yield f"<br>Unexplained: {html.escape(', '.join(verdict.unexplained) or 'what these have in common')}."
        yield "</p>"
    if verdict.relative_difference is not None and verdict.outcome != CONFORMS:
        yield f"<p>On typical weights the difference is {verdict.relative_difference:.2g} of the largest value.</p>"


def _differences(verdict):
    if not verdict.differences:
        return
    yield (f"<h2>Error by tensor</h2><figure>{_plot(verdict.differences)}<figcaption>The largest error over "
           f"{verdict.examples} input cases, in epsilons of {verdict.precision}, in the order of the computation; the "
           f"upright stroke is the limit that rounding explains.</figcaption></figure>")
    yield "<table><tr><th>tensor</th><th>error</th><th>allowed</th><th>relative</th></tr>"
    for difference in verdict.differences:
        row = "<tr>" if difference.agrees else "<tr class=off>"
        yield (f"{row}<td>{html.escape(difference.tensor)}</td><td>{difference.error_eps:.3g}</td>"
               f"<td>{difference.allowed_eps:.3g}</td><td>{difference.relative_difference:.2g}</td></tr>")
    yield "</table>"


def _counterexample(verdict):
    if verdict.counterexample is not None and verdict.snippet is None:
        lines = [f"{name} = {json.dumps(finite_json(value))}" for name, value in verdict.counterexample.items()]
        text = html.escape("\n".join(lines))
        yield f"<h2>Smallest counterexample</h2><pre>{text}</pre>"


def _notes(notes):
    if notes:
        yield "<h2>Notes</h2><ul>"
        for note in notes:
            yield f"<li>{html.escape(note)}</li>"
        yield "</ul>"


def _x(epsilons):
    """The position of a number of epsilons on the plot's axis, in pixels."""
    power = math.log10(max(epsilons, 10.0**SMALLEST_POWER)) if math.isfinite(epsilons) else LARGEST_POWER
    return LABEL + PLOT * (min(power, LARGEST_POWER) - SMALLEST_POWER) / (LARGEST_POWER - SMALLEST_POWER)


def _plot(differences: Sequence[Difference]) -> str:
    """The errors tensor by tensor, in the order of the computation, on a logarithmic axis, as SVG."""
    height = ROW * len(differences) + 40
    parts = [f'<svg role="img" aria-label="error of every tensor" width="{LABEL + PLOT + 40}" height="{height}" '
             f'font-size="12" font-family="system-ui, sans-serif">']
    for power in range(0, int(LARGEST_POWER) + 1, 4):
        x = _x(10.0**power)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - 34}" stroke="#e5e5e5"/>'
                     f'<text x="{x:.1f}" y="{height - 18}" text-anchor="middle" fill="#555">10<tspan dy="-4" '
                     f'font-size="9">{power}</tspan></text>')
    for row, difference in enumerate(differences):
        y = ROW * row + ROW / 2
        colour = COLOURS[CONFORMS if difference.agrees else DIVERGES]
        error, allowed = _x(difference.error_eps), _x(difference.allowed_eps)
        parts.append(f'<text x="{LABEL - 8}" y="{y + 4}" text-anchor="end">{html.escape(difference.tensor)}</text>'
                     f'<line x1="{LABEL}" x2="{error:.1f}" y1="{y}" y2="{y}" stroke="{colour}" '
                     f'stroke-width="2"/><circle cx="{error:.1f}" cy="{y}" r="4" fill="{colour}"/>'
                     f'<line x1="{allowed:.1f}" x2="{allowed:.1f}" y1="{y - 6}" y2="{y + 6}" stroke="#1c1c1c"/>')
    parts.append(f'<text x="{LABEL + PLOT / 2}" y="{height - 2}" text-anchor="middle" fill="#555">error, in epsilons'
                 f'</text></svg>')
    return "".join(parts)
