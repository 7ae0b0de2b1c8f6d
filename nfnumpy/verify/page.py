"""A verdict as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

import html
import json
import math

from ..files import atomic_write
from .report import HEADLINES
from .verdict import CONFORMS, DIVERGES, VARIANT

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
"""
SMALLEST, LARGEST = -2.0, 18.0  # powers of ten of an epsilon that the plot shows
ROW, LABEL, PLOT = 18, 250, 480  # pixels


def _x(epsilons):
    """Where a number of epsilons lies on the plot's axis, in pixels."""
    power = LARGEST if math.isinf(epsilons) or math.isnan(epsilons) else math.log10(max(epsilons, 10.0**SMALLEST))
    return LABEL + PLOT * (min(power, LARGEST) - SMALLEST) / (LARGEST - SMALLEST)


def _plot(differences):
    """The errors tensor by tensor, in the order of the computation, on a logarithmic axis."""
    height = ROW * len(differences) + 40
    parts = [f'<svg role="img" aria-label="error of every tensor" width="{LABEL + PLOT + 40}" height="{height}" '
             f'font-size="12" font-family="system-ui, sans-serif">']
    for power in range(0, int(LARGEST) + 1, 4):
        x = _x(10.0**power)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - 34}" stroke="#e5e5e5"/>'
                     f'<text x="{x:.1f}" y="{height - 18}" text-anchor="middle" fill="#555">10<tspan dy="-4" '
                     f'font-size="9">{power}</tspan></text>')
    for row, difference in enumerate(differences):
        y, colour = ROW * row + ROW / 2, COLOURS[CONFORMS if difference.agrees else DIVERGES]
        parts.append(f'<text x="{LABEL - 8}" y="{y + 4}" text-anchor="end">{html.escape(difference.tensor)}</text>'
                     f'<line x1="{LABEL}" x2="{_x(difference.error):.1f}" y1="{y}" y2="{y}" stroke="{colour}" '
                     f'stroke-width="2"/><circle cx="{_x(difference.error):.1f}" cy="{y}" r="4" fill="{colour}"/>'
                     f'<line x1="{_x(difference.allowed):.1f}" x2="{_x(difference.allowed):.1f}" y1="{y - 6}" '
                     f'y2="{y + 6}" stroke="#1c1c1c"/>')
    parts.append(f'<text x="{LABEL + PLOT / 2}" y="{height - 2}" text-anchor="middle" fill="#555">error, in epsilons'
                 f'</text></svg>')
    return "".join(parts)


def page(verdict):
    """The page's text."""
    def pairs(names, sentences):
        return "<dl>" + "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(sentence)}</dd>"
                                for name, sentence in zip(names, sentences)) + "</dl>"

    title = f"{verdict.kind}: {verdict.target}"
    parts = [f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{html.escape(title)}</title>"
             f"<meta name='viewport' content='width=device-width'><style>{STYLE}</style></head><body>"
             f"<h1>{html.escape(title)}</h1><p class='outcome' style='color:{COLOURS[verdict.outcome]}'>"
             f"{HEADLINES[verdict.outcome]}</p>"]
    first = verdict.first_difference
    if first is not None:
        parts.append(f"<p>First tensor that rounding does not explain: <code>{html.escape(first.tensor)}</code>.</p>")
    if verdict.diagnosis:
        parts.append("<h2>What it is</h2>" + pairs(verdict.diagnosis, verdict.explanation))
    elif verdict.outcome == DIVERGES:
        parts.append("<h2>What it is</h2><p>No known form reproduces it." + (
            f" The nearest is: {html.escape(' with '.join(verdict.nearest))}." if verdict.nearest else "") + "</p>")
    if verdict.size is not None and verdict.outcome != CONFORMS:
        parts.append(f"<p>On typical weights the difference is {verdict.size:.2g} of the largest value.</p>")
    if verdict.differences:
        rows = "".join(f"<tr{'' if d.agrees else ' class=off'}><td>{html.escape(d.tensor)}</td><td>{d.error:.3g}</td>"
                       f"<td>{d.allowed:.3g}</td><td>{d.relative:.2g}</td></tr>" for d in verdict.differences)
        parts.append(f"<h2>Error by tensor</h2><figure>{_plot(verdict.differences)}<figcaption>The worst of "
                     f"{verdict.examples} problems, in epsilons of {verdict.precision}, in the order of the "
                     f"computation; the upright stroke is what rounding explains.</figcaption></figure><table><tr><th>"
                     f"tensor</th><th>error</th><th>allowed</th><th>relative</th></tr>{rows}</table>")
    if verdict.counterexample is not None:
        entries = (f"{name} = {json.dumps(value)}" for name, value in verdict.counterexample.items())
        parts.append("<h2>Smallest counterexample</h2><pre>" + html.escape("\n".join(entries)) + "</pre>")
    if verdict.notes:
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in verdict.notes)
        parts.append(f"<h2>Notes</h2><ul>{notes}</ul>")
    return "".join(parts) + "</body></html>\n"


def write_page(path, verdict):
    """Write the page to `path`, whole or not at all."""
    atomic_write(path, page(verdict).encode())
