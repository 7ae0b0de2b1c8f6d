"""The findings of a search: what each is, where, and why; the most certain ones first."""

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping

from .definitions import Definition, definitions
from .files import Source, Unread, sources
from .kinds import layers, networks, training

RULES = (*training.RULES, *layers.RULES, *networks.RULES)
LESS_CERTAIN = 0.5  # times the confidence of what is in a tests folder or a copy of another project's code
ASIDE = re.compile(r"(^|/)(tests?|testing|third_?party|vendor(ed)?|external|extern|submodules|deprecated|legacy)/|"
                   r"(^|/)(test_[^/]*|[^/]*_test|conftest)\.py$")
LIKELY = 0.7


@dataclasses.dataclass(frozen=True)
class Finding:
    """A definition that looks like something that can be checked.

    file: relative to the folder searched, line: of its definition; kind: of the check; target: what `verify` takes;
    name: with those around it; framework: that it seems to be written in; why: a phrase of evidence; confidence: from 0
    to 1; obstacle: why it cannot be run from outside, or ""; options: for the check; also: other places of the same
    code.
    """

    file: str
    line: int
    kind: str
    target: str
    name: str
    framework: str
    why: str
    confidence: float
    obstacle: str = ""
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    also: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """file:line."""
        return f"{self.file}:{self.line}"

    @property
    def is_likely(self) -> bool:
        """Whether its source says so, or all but its source."""
        return self.confidence >= LIKELY


@dataclasses.dataclass(frozen=True)
class Search:
    """findings: the most certain first; files: how many were read; unread: those that could not be."""

    folder: str
    findings: tuple[Finding, ...]
    files: int
    unread: tuple[Unread, ...]


def search(folder: str | os.PathLike[str]) -> Search:
    """Read every source under `folder` and list what can be checked; nothing is imported. InputError: no folder."""
    folder, read, unread = os.fspath(folder), 0, []
    defined: list[tuple[Source, list[Definition]]] = []
    for source in sources(folder):
        if isinstance(source, Unread):
            unread.append(source)
            continue
        try:
            found = list(definitions(source.text))
        except SyntaxError as error:
            unread.append(Unread(source.path, f"no Python 3: {error.msg}, line {error.lineno or '?'}"
                                 if error.lineno else str(error)))
            continue
        read += 1
        defined.append((dataclasses.replace(source, text="") if not source.is_notebook else source, found))
    ancestors = _Ancestors(definition for _, found in defined for definition in found)
    findings = [finding for source, found in defined for finding in _of_file(folder, source, found, ancestors)]
    return Search(folder, tuple(_ranked(_merged(findings))), read, tuple(unread))


class _Ancestors:
    """The bases of the folder's own classes, by their names."""

    def __init__(self, every: Iterable[Definition]):
        self.bases: dict[str, tuple[str, ...]] = {}
        for definition in every:
            if definition.is_class and not definition.is_local:
                self.bases.setdefault(definition.name, definition.bases)

    def extended(self, definition: Definition) -> Definition:
        """The definition with the bases of its bases."""
        found, waiting = dict.fromkeys(definition.bases), list(definition.bases)
        while waiting and len(found) < 50:
            for base in self.bases.get(waiting.pop(), ()):
                if base not in found:
                    found[base] = None
                    waiting.append(base)
        return dataclasses.replace(definition, bases=tuple(found)) if len(found) > len(definition.bases) else definition


def _of_file(folder, source, found, ancestors):
    """(finding, the code's number) of each definition of a file that a rule fits, the innermost left out."""
    taken: dict[str, set[str]] = {}
    for definition in found:
        definition = ancestors.extended(definition) if definition.is_class else definition
        kinds = sorted(((*rule.evidence(definition), rule.kind) for rule in RULES), reverse=True)
        outside = {kind for outer, kinds_of_outer in taken.items() for kind in kinds_of_outer
                   if definition.qualified.startswith(f"{outer}.")}
        for confidence, why, kind in kinds[:1]:
            if confidence and kind not in outside:
                taken.setdefault(definition.qualified, set()).add(kind)
                yield _finding(folder, source, definition, kind, confidence, why), definition.copied


def _finding(folder, source, definition, kind, confidence, why):
    aside = LESS_CERTAIN if ASIDE.search(source.path) else 1.0
    obstacle, line, name = "", definition.line, definition.qualified
    if source.is_notebook:
        obstacle, line = "it is in a notebook: copy it into a .py file", _line_in_notebook(source, definition)
    elif definition.is_local:
        obstacle = "it is defined inside a function"
    variant = networks.variant_named(definition.name) if kind == "model" and not definition.is_class else None
    target = f"{os.path.normpath(os.path.join(folder, source.path))}:{name}"
    return Finding(source.path, line, kind, target, name, definition.framework,
                   why, round(confidence * aside, 2), obstacle, {"variant": variant} if variant else {})


def _line_in_notebook(source, definition):
    """The line of the notebook's own file, each of whose lines is a line of code."""
    word = "class" if definition.is_class else "def"
    start = json.dumps(f"{word} {definition.name}")[1:-1]
    for number, line in enumerate(source.raw.splitlines(), start=1):
        if re.search(rf"(?:\b|\\n){re.escape(start)}\b", line):
            return number
    return 1


def _merged(findings):
    """The same code once: in the most certain of its places, then the shortest path, and the others named there."""
    by_code: dict[tuple[str, int], list[Finding]] = {}
    for finding, copied in findings:
        by_code.setdefault((finding.kind, copied), []).append(finding)
    for same in by_code.values():
        first, *others = sorted(same, key=lambda finding: (-finding.confidence, bool(finding.obstacle),
                                                           finding.file.count("/"), finding.file, finding.line))
        yield dataclasses.replace(first, also=tuple(f"{other.place} {other.name}" for other in others))


def _ranked(findings):
    return sorted(findings, key=lambda finding: (-finding.confidence, bool(finding.obstacle), finding.kind,
                                                 finding.file, finding.line))
