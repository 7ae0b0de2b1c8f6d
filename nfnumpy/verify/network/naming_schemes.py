"""The parameter names of known implementations, as names of ours."""

import re
from collections.abc import Iterable, Set

from ...errors import InputError
from ...weights.haiku import our_name as from_haiku_name
from ...weights.timm import our_names as from_timm_names

PREFIXES = ("", "module.", "model.", "params.", "net.", "backbone.", "_orig_mod.")


def ours(names: Iterable[str]) -> dict[str, str]:
    """Our own names."""
    return {name: name for name in names}


def torch_names(names: Iterable[str]) -> dict[str, str]:
    """Our own names with PyTorch's words for the arrays of a normalization: weight, bias, running_var."""
    given = list(names)
    norms = {name.rpartition(".")[0] for name in given if re.search(r"(^|[._])norm\d?\.(weight|running_var)$", name)}
    words = {"weight": "gamma", "bias": "beta", "running_var": "running_variance"}
    return {name: f"{path}.{words.get(leaf, leaf)}" if path in norms else name
            for name in given for path, _, leaf in [name.rpartition(".")]}


def timm(names: Iterable[str]) -> dict[str, str]:
    """timm's names."""
    return from_timm_names(names)[1]


def haiku(names: Iterable[str]) -> dict[str, str]:
    """The authors' names: module path and leaf, joined by a slash or a dot."""
    found = {}
    for name in names:
        path, _, leaf = re.sub(r"[./]([^./]+)$", r"\n\1", name).partition("\n")
        if "/~/" in path:
            found[name] = from_haiku_name(path, leaf)
    return found


SCHEMES = {"ours": ours, "our": torch_names, "timm": timm, "the authors'": haiku}


def by_scheme(names: Iterable[str], known: Set[str]) -> tuple[str, dict[str, str]]:
    """(scheme, {their name: our name}) for the scheme that covers most of `known`, our names; ("", {}) if none covers
    more than half of them.
    """
    best: tuple[str, dict[str, str]] = ("", {})
    for title, scheme in SCHEMES.items():
        for front in PREFIXES:
            own = [name.removeprefix(front) for name in names if name.startswith(front)]
            try:
                renamed = {front + name: our for name, our in scheme(own).items() if our in known}
            except (InputError, KeyError, IndexError):  # these are not names of that scheme
                continue
            if len(renamed) > len(best[1]):
                best = title, renamed
    return best if len(best[1]) > 0.5 * len(known) else ("", {})
