"""Writing weights under the names, in the layout and in the file format of another implementation.

Used by: weights/__main__.py. Tests: reference_tests/weights/test_formats.py, test_endings.py.
"""

import os
import pickle
from collections.abc import Mapping

import numpy as np

from .. import backend as backends
from ..backend.arrays import Array
from ..errors import InputError
from ..files import atomic_write
from ..models import variant_of
from .endings import check_ending
from .files import save
from .haiku import to_haiku
from .loading import is_checkpoint, load
from .naming import family_of
from .timm import to_timm
from .timm_gains import changed_for_timm

SCHEMES = ("nfnumpy", "timm", "haiku")
GAINS = ("exact", "as-stored")
# What a user of the written file has to know, because equal names alone do not make equal networks.
TIMM_NOTES = {
    "NFNet": "for timm's dm_nfnet_*, which use the erf GELU",
    "NFResNet": "timm's nf_resnet* pool before their projections and pad otherwise: with these names, other networks",
    "NFRegNet": "timm's nf_regnet* need skipinit, gamma_in_act, same_padding, ch_div=1; B3 and B5 then fit",
}


def convert(source: str | os.PathLike, target: str | os.PathLike, to: str, gains: str = "exact") -> list[str]:
    """Read weights of any kind from the file `source`, write them to `target` for `to`: "nfnumpy", "timm" or "haiku".

    Of a training checkpoint, the averaged weights if it has them. gains, for timm: "exact" changes the gains so that
    timm computes the same function, in spite of the epsilon that it adds, and `load` restores them; "as-stored" renames
    only. Returns lines that describe what was written.
    InputError when `source` cannot be read, holds a network that `to` has no names for, or is the same file as
    `target`, and when the ending of `target` says that it holds something else.
    """
    if to not in SCHEMES:
        raise InputError(f"--to {to}: expected one of {', '.join(SCHEMES)}")
    if gains not in GAINS:
        raise InputError(f"--gains {gains}: expected one of {', '.join(GAINS)}")
    check_target(source, target, "pickle" if to == "haiku" else "safetensors")
    state = network_state(source)
    has_gains = any(name.endswith(".gain") for name in state)
    if to == "timm":
        changed, metadata = changed_for_timm(state) if gains == "exact" and has_gains else (state, {})
        save(target, to_timm(changed), {"format": "pt", **metadata})
    elif to == "haiku":
        save_haiku(target, state)
    else:
        save(target, state)
    lines = [f"{target}: {len(state)} arrays of {described(state)} under the names of {to}"]
    if to == "timm" and has_gains:
        epsilon = "gains changed to undo" if gains == "exact" else "gains as they are, without regard to"
        lines.append(f"note: {epsilon} the 1e-5 that timm adds to the weights' variance")
        lines.append(f"note: {TIMM_NOTES[family_of(state)]}; see docs/weights.md")
    return lines


def check_target(source: str | os.PathLike, target: str | os.PathLike, kind: str) -> None:
    """InputError unless a file of `kind`, a key of endings.ENDINGS, that is made from `source` can be at `target`."""
    check_ending(target, kind)
    if os.path.exists(target) and os.path.exists(source) and os.path.samefile(source, target):
        raise InputError(f"{target} is the file to read; write to another one")


def network_state(path: str | os.PathLike, averaged: bool = True) -> dict[str, np.ndarray]:
    """The weights of one network in the file at `path`: of a checkpoint, the averaged ones if it has them."""
    if not is_checkpoint(path):
        return load(path)
    groups = {name.partition(".")[0] for name in load(path)}
    group = "ema" if averaged and "ema" in groups else "model"
    return load(path, group)


def save_haiku(path: str | os.PathLike, state: Mapping[str, Array]) -> None:
    """Write the authors' tree of `state` as a pickle of dicts and NumPy arrays, whole or not at all."""
    tree = {}
    for module, leaves in to_haiku(state).items():
        tree[module] = {leaf: np.array(backends.to_host(array), order="C") for leaf, array in leaves.items()}
    atomic_write(path, pickle.dumps(tree, protocol=4))


def described(state: Mapping[str, Array]) -> str:
    """The variant of `state` and its number of classes, if it is a named variant."""
    try:
        return f"{variant_of(state)} with {state['linear.bias'].shape[0]} classes"
    except InputError:
        return "a network of no named variant"
