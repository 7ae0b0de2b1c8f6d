"""The tests that [tool.nfnumpy.verify] of pyproject.toml lists."""

import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

KEYS = {"kind": str, "target": str, "options": dict, "framework": str, "examples": int, "fail-on": str}
REQUIRED = ("kind", "target")


def items_of(session: pytest.Session, file: Path) -> Iterator["VerifyItem"]:
    """A test for every entry of `targets`; UsageError, one line, for a section that is no such list."""
    try:
        section = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("nfnumpy", {}).get("verify", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise pytest.UsageError(f"{file}: {error}") from None
    targets = section.get("targets", []) if isinstance(section, dict) else None
    if not isinstance(targets, list):
        raise pytest.UsageError(f"{file}: [tool.nfnumpy.verify] targets: expected a list of tables")
    for entry in targets:
        problem = _problem(entry)
        if problem:
            raise pytest.UsageError(f"{file}: [tool.nfnumpy.verify] targets: {problem} in {entry}")
        name = f"{entry['kind']}[{entry['target']}]"
        yield VerifyItem.from_parent(session, name=name, nodeid=f"{file.name}::{name}", entry=entry, file=file)


def _problem(entry):
    """What is wrong with an entry, or None."""
    if not isinstance(entry, dict):
        return "expected a table"
    for key in REQUIRED:
        if key not in entry:
            return f"no {key!r}"
    for key, value in entry.items():
        if key not in KEYS:
            return f"unknown {key!r}, expected some of {', '.join(KEYS)}"
        if type(value) is not KEYS[key]:
            return f"{key!r} is no {KEYS[key].__name__}"
    if entry.get("fail-on", "diverges") not in ("diverges", "variant"):
        return "'fail-on' is neither 'diverges' nor 'variant'"
    return None


class VerifyItem(pytest.Item):
    """One check; it fails with the whole report, and with one line where it cannot be run."""

    def __init__(self, *, entry: Mapping[str, Any], file: Path, **options: Any) -> None:
        super().__init__(**options)
        self.entry, self.file = entry, file

    def runtest(self) -> None:
        """Check the target; AssertionError unless it conforms."""
        from nfnumpy.verify import assert_conforms, check
        from nfnumpy.verify.options import target_of
        from nfnumpy.verify.targets import divided

        entry, root = self.entry, str(self.file.parent)
        place, colon, attribute = divided(entry["target"])
        text = os.path.join(root, place) + colon + attribute if place.endswith(".py") else entry["target"]
        if root not in sys.path:
            sys.path.append(root)
        options = dict(entry.get("options", {}))
        verdict = check(entry["kind"], target_of(entry["kind"], text, options), name=entry["target"],
                        framework=entry.get("framework", "auto"), examples=entry.get("examples", 20), **options)
        assert_conforms(verdict, variants=entry.get("fail-on", "diverges") != "variant")

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """The report alone, without a traceback through nfnumpy."""
        from nfnumpy.errors import InputError

        if excinfo.errisinstance((AssertionError, InputError)):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The place that pytest shows."""
        return self.file, None, self.name
