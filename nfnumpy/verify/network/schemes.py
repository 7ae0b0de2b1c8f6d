"""The names that known implementations give the parameters, as names of ours."""

import re

from ...errors import InputError
from ...weights.haiku import our_name as from_haiku_name
from ...weights.timm import our_name as from_timm_name

NOTHING_IN_FRONT = ("", "module.", "model.", "params.", "net.", "backbone.", "_orig_mod.")


def ours(names):
    """Our own names."""
    return {name: name for name in names}


def timm(names):
    """timm's names."""
    blocks = sorted({(int(s), int(b)) for name in names for s, b in re.findall(r"^stages\.(\d+)\.(\d+)\.", name)})
    index = {place: k for k, place in enumerate(blocks)}
    return {name: from_timm_name(name, index) for name in names}


def haiku(names):
    """The authors' names: module path and leaf, joined by a slash or a dot."""
    found = {}
    for name in names:
        path, _, leaf = re.sub(r"[./]([^./]+)$", r"\n\1", name).partition("\n")
        if "/~/" in path:
            found[name] = from_haiku_name(path, leaf)
    return found


SCHEMES = {"ours": ours, "timm": timm, "the authors'": haiku}


def by_scheme(names, known):
    """(scheme, {their name: our name}) for the scheme that covers most of `known`, our names; ("", {}) if none does.
    """
    best = "", {}
    for title, scheme in SCHEMES.items():
        for front in NOTHING_IN_FRONT:
            held = [name.removeprefix(front) for name in names if name.startswith(front)]
            try:
                renamed = {front + name: our for name, our in scheme(held).items() if our in known}
            except (InputError, KeyError, IndexError):
                continue
            if len(renamed) > len(best[1]):
                best = title, renamed
    return best if len(best[1]) > 0.5 * len(known) else ("", {})
