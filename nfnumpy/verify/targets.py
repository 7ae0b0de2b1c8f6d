"""Loading a target: `package.module:attribute`, or `file.py:attribute`; `table["key"]` is an attribute too."""

import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import InputError, first_line

STEP = r"""\.?([^\W\d]\w*)|\["([^"]*)"\]|\['([^']*)'\]|\[(-?\d+)\]"""
ATTRIBUTE = r"""[^\W\d]\w*(?:\.[^\W\d]\w*|\["[^"]*"\]|\['[^']*'\]|\[-?\d+\])*"""


def load_target(text: str) -> Any:
    """The object that `text` names; InputError, one line, when it cannot be imported or does not exist."""
    place, colon, attribute = divided(text)
    if not colon or not place or not attribute:
        raise InputError(f"target {text!r}: expected package.module:attribute or file.py:attribute")
    steps = _steps(attribute)
    if steps is None:
        raise InputError(f"target {text!r}: expected an attribute such as name, object.method or table[\"key\"]")
    found = _module(place, text)
    for step in steps:
        found = _taken(found, step, text, place)
    return found


def divided(text: str) -> tuple[str, str, str]:
    """(place, ":", attribute): the last colon that is not in a key."""
    head, bracket, keys = text.partition("[")
    place, colon, attribute = head.rpartition(":")
    return place, colon, attribute + bracket + keys


def _steps(attribute: str) -> list[str | int | tuple[str]] | None:
    """The names and keys of `a.b["c"][0]`, keys as (text,) or a number; None where it is nothing of the kind."""
    if not re.fullmatch(ATTRIBUTE, attribute):
        return None
    found: list[str | int | tuple[str]] = []
    for name, double, single, number in re.findall(STEP, attribute):
        found.append(name or (int(number) if number else (double or single,)))
    return found


def _taken(found, step, text, place):
    try:
        if isinstance(step, str):
            return getattr(found, step)
        return found[step if isinstance(step, int) else step[0]]
    except (AttributeError, KeyError, IndexError, TypeError):
        if isinstance(found, Mapping):
            has = f"it has the keys {', '.join(map(repr, list(found)[:12]))}"
        else:
            has = "it has " + ", ".join(sorted(known for known in dir(found) if not known.startswith("_"))[:12])
        shown = step if isinstance(step, (str, int)) else step[0]
        raise InputError(f"target {text!r}: {place} has no {shown!r}; {has}") from None


def _module(place, text):
    try:
        if place.endswith(".py"):
            return _from_file(Path(place))
        return importlib.import_module(place)
    except (InputError, KeyboardInterrupt):
        raise
    except ModuleNotFoundError as error:
        raise InputError(f"target {text!r}: no module named {error.name!r}; install it, or give a path that ends in "
                         f".py") from None
    except BaseException as error:  # a foreign module may raise anything while it is imported
        raise InputError(f"target {text!r}: importing {place} failed: {type(error).__name__}: "
                         f"{first_line(error)}") from None


def _from_file(path: Path) -> ModuleType:
    """The module in a file: by itself, or where it imports its package, as a module of that."""
    if not path.is_file():
        raise InputError(f"target: there is no file {path}")
    try:
        return _by_itself(path)
    except ImportError:
        folder, name = package_of(path)
        if "." not in name:
            raise
        return _in_its_package(path, folder, name)


def package_of(file: str | os.PathLike[str]) -> tuple[str, str]:
    """(the folder to import from, the dotted name) of a Python file: the packages around it are in the name."""
    path = Path(file).absolute()
    names = [] if path.name == "__init__.py" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        names.insert(0, folder.name)
        folder = folder.parent
    return str(folder), ".".join(names)


def _in_its_package(path, folder, name):
    """The module called `name` from `folder`; InputError where another package of that name is found first."""
    sys.path.append(folder)
    try:
        module = importlib.import_module(name)
    finally:
        sys.path.remove(folder)
    found = getattr(module, "__file__", None)
    if found is None or not os.path.samefile(found, path):
        raise InputError(f"target: {path} is {name}, but that is imported from {found}; set PYTHONPATH={folder}")
    return module


def _by_itself(path: Path) -> ModuleType:
    """The module in a file, under a name that no installed module has.

    While it is imported, its folder is the last one on the path: it can import its neighbours, and a neighbour called
    as an installed module does not take that module's place.
    """
    name = f"nfnumpy_target_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    folder = str(path.parent.resolve())
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"target: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.append(folder)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        return module
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(folder)
