"""Where a target is defined, and how a program imports it."""

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..targets import divided, package_of


@dataclasses.dataclass(frozen=True)
class Place:
    """file, line: of the definition, or None where it is not written in Python; module, attribute: what is imported;
    folder: where the program has to be run, or None for anywhere.
    """

    file: str | None
    line: int
    module: str
    attribute: str
    folder: str | None

    @property
    def name(self) -> str:
        """What is imported: the attribute without what follows its first name."""
        return re.split(r"[.\[]", self.attribute)[0]

    def import_line(self) -> str:
        """The line that imports the target."""
        return f"from {self.module} import {self.name}"

    def heading(self, kind: str, tensor: str | None) -> Iterator[str]:
        """Comments: what the program shows, and where it is to be run."""
        shown = f"the {tensor} differs on the smallest input found" if tensor else "it differs from the reference"
        yield f"# {self.attribute} ({kind}): {shown}."
        if self.folder is not None:
            name = Path(self.folder).name or self.folder
            yield f"# Run it in the folder {name}, where {self.module} can be imported."


def place_of(target: Any, text: str) -> Place | None:
    """The Place of a target that was loaded from `text`, file.py:attribute or package.module:attribute, or that has a
    module of its own; None for anything else.
    """
    file, line = definition_of(target)
    place, _, attribute = divided(text)
    if place == "timm":
        return None
    if place.endswith(".py"):
        folder, module = package_of(place)
        return Place(place, line, module, attribute, folder)
    if place:
        return Place(file, line, place, attribute, None)
    own, name = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    if not own or not name or "<" in name or own in ("__main__", "builtins"):
        return None
    return Place(file, line, own, name, None)


def definition_of(target: Any) -> tuple[str | None, int]:
    """(file, line) of a target's definition; (None, 1) where there is none."""
    while hasattr(target, "__wrapped__") or hasattr(target, "func"):
        target = getattr(target, "__wrapped__", None) or target.func
    if not (inspect.isclass(target) or inspect.isroutine(target)):
        target = type(target)
    try:
        return inspect.getsourcefile(target), inspect.getsourcelines(target)[1] or 1
    except (TypeError, OSError, ValueError):
        module = sys.modules.get(getattr(target, "__module__", None) or "")
        return getattr(module, "__file__", None), 1

