"""The recipes that come with the package: TOML files of options in nfnumpy/recipes/."""

import difflib
from importlib.resources import files
from importlib.resources.abc import Traversable

from ..errors import InputError

ENDING = ".toml"


def _directory() -> Traversable:
    return files("nfnumpy") / "recipes"


def names() -> list[str]:
    """The recipes' names, sorted."""
    return sorted(file.name.removesuffix(ENDING) for file in _directory().iterdir() if file.name.endswith(ENDING))


def text_of(name: str) -> str:
    """The content of the recipe `name`; InputError suggests the nearest name."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1, cutoff=0.0)[0]
        raise InputError(f"--config recipe:{name}: there is no such recipe: did you mean recipe:{near}? --config list "
                         f"names all")
    return (_directory() / f"{name}{ENDING}").read_text(encoding="utf-8")


def listing() -> str:
    """The recipes, a line each: what --config takes, and the first line of the file."""
    lines = [f"recipe:{name:<18} {text_of(name).splitlines()[0].lstrip('# ')}" for name in names()]
    return "\n".join(lines)
