"""The names of the authors' released weights: a dict of dicts, module path -> {name: array}.

Shapes and layouts are those of nfnumpy, so arrays are only renamed. Used by: loading.py, conversion.py, verify.
Test: reference_tests/weights/test_weights.py.
"""

import re
from collections.abc import Mapping
from typing import Any

from ..backend.arrays import Array
from ..errors import InputError
from .name_tables import NUMBER
from .naming import check_names, family_of

ROOTS = {"NFNet": ("NFNet", "nf_block"), "NFResNet": ("NF_ResNet", "nf_res_block"),
         "NFRegNet": ("NF_RegNet", "nf_block")}
LINEAR_LEAVES = {"weight": "w", "bias": "b"}
CONVOLUTION_LEAVES = {"weight": "w", "gain": "gain", "bias": "bias"}


def haiku_name(name: str, family: str) -> tuple[str, str]:
    """(module path, leaf) of the authors for a parameter's name in nfnumpy."""
    root, block = ROOTS[family]
    module, _, leaf = name.rpartition(".")
    leaves = LINEAR_LEAVES if module == "linear" or ".fc" in module else CONVOLUTION_LEAVES
    module = re.sub(r"^stem_convs\.", "stem_conv", module)
    module = re.sub(rf"^blocks\.({NUMBER})", lambda k: block + ("" if k[1] == "0" else f"_{k[1]}"), module)
    module = module.replace(".squeeze_excite.fc0", ".squeeze_excite.linear")
    module = module.replace(".squeeze_excite.fc1", ".squeeze_excite.linear_1")
    return f"{root}/~/" + module.replace(".", "/~/"), leaves.get(leaf, leaf)


def our_name(path: str, leaf: str) -> str:
    """The name in nfnumpy of the authors' `leaf` in the module `path`."""
    parts = path.split("/~/")[1:]
    first = re.sub(rf"^stem_conv({NUMBER})$", r"stem_convs.\1", parts[0])
    first = re.sub(rf"^nf_(?:res_)?block(?:_({NUMBER}))?$", lambda k: f"blocks.{k[1] or 0}", first)
    rest = [{"linear": "fc0", "linear_1": "fc1"}.get(part, part) for part in parts[1:]]
    return ".".join([first, *rest, {"w": "weight", "b": "bias"}.get(leaf, leaf)])


def to_haiku(state: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """The authors' tree (module path -> {name: array}) for a state of any family; the arrays are not copied."""
    tree: dict[str, dict[str, Array]] = {}
    family = family_of(state)
    for name, array in state.items():
        path, leaf = haiku_name(name, family)
        tree.setdefault(path, {})[leaf] = array
    return tree


def from_haiku(tree: Mapping[str, Mapping[str, Any]]) -> dict[str, Array]:
    """The state (name -> array) for the authors' tree; the arrays are not copied.

    InputError, naming the path, when it is not a tree of one of the three families.
    """
    if not isinstance(tree, Mapping):
        raise InputError(f"haiku weights: expected a mapping from paths to mappings, got a {type(tree).__name__}")
    state = {}
    for path, leaves in tree.items():
        _check_module(path, leaves)
        for leaf, array in leaves.items():
            name = our_name(path, leaf) if isinstance(leaf, str) and hasattr(array, "shape") else None
            if name is None or name in state:
                raise InputError(f"haiku weights: {str(leaf)[:80]!r} of {path[:80]!r} is not an array, or occurs twice")
            state[name] = array
    check_names(state, "haiku weights", normalizer_free=True)
    family = family_of(state)
    for name in state:
        path, leaf = haiku_name(name, family)
        if leaf not in tree.get(path, {}):
            raise InputError(f"haiku weights: a name that reads as {name[:80]!r} is not one of the authors'")
    return state


def _check_module(path: Any, leaves: Any) -> None:
    """InputError unless `path` is that of a module of one of the families and `leaves` a mapping."""
    roots = sorted(root for root, _ in ROOTS.values())
    is_module = isinstance(path, str) and path.startswith(tuple(f"{root}/~/" for root in roots))
    if not is_module or not hasattr(leaves, "items"):
        raise InputError(f"haiku weights: {str(path)[:80]!r} is not a module of {', '.join(roots)} with named arrays")
