"""Writing weights under the names, in the layout and in the file format of another implementation.

Used by: weights/__main__.py. Test: reference_tests/weights/test_formats.py.
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
from .files import save
from .haiku import to_haiku
from .loading import is_checkpoint, load
from .naming import family_of
from .timm import to_timm

SCHEMES = ("nfnumpy", "timm", "haiku")
# What a user of the written file has to know, because equal names alone do not make equal networks.
TIMM_NOTES = {
    "NFNet": "timm's dm_nfnet_* have these names; they add 1e-5 to the weights' variance and use the erf GELU",
    "NFResNet": "timm's nf_resnet* pool before their projections and pad otherwise: with these names, other networks",
    "NFRegNet": "timm's nf_regnet* need skipinit, gamma_in_act, same_padding, ch_div=1; B3 and B5 then fit",
}


def convert(source: str | os.PathLike, target: str | os.PathLike, to: str) -> list[str]:
    """Read weights of any kind from the file `source`, write them to `target` for `to`: "nfnumpy", "timm" or "haiku".

    Of a training checkpoint, the averaged weights if it has them. Returns lines that describe what was written.
    InputError when `source` cannot be read, is not a normalizer-free network, or is the same file as `target`.
    """
    if to not in SCHEMES:
        raise InputError(f"--to {to}: expected one of {', '.join(SCHEMES)}")
    if os.path.exists(target) and os.path.exists(source) and os.path.samefile(source, target):
        raise InputError(f"{target} is the file to read; write to another one")
    state = network_state(source)
    family = family_of(state)  # InputError for other networks, before anything is written
    if to == "timm":
        save(target, to_timm(state), {"format": "pt"})
    elif to == "haiku":
        save_haiku(target, state)
    else:
        save(target, state)
    lines = [f"{target}: {len(state)} arrays of {_description(state)} under the names of {to}"]
    if to == "timm":
        lines.append(f"note: {TIMM_NOTES[family]}; see docs/weights.md")
    return lines


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


def _description(state: Mapping[str, Array]) -> str:
    """The variant of `state` and its number of classes; where it is no named variant, its family."""
    try:
        return f"{variant_of(state)} with {state['linear.bias'].shape[0]} classes"
    except InputError:
        return f"an {family_of(state)} of no named variant"
