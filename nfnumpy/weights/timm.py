"""The names and layouts of timm's models: outputs first, gains (C, 1, 1, 1), squeeze-and-excite as 1×1 convolutions.

The renaming is exact. The networks differ slightly: timm's dm_ models add 1e-5 to the variance of the weights, which
`with_timm_epsilon` and `without_timm_epsilon` account for, and use the erf GELU. Its models without dm_ fold gamma into
the weights, have no skip gain and pad on all sides: they are not these networks. Used by: loading.py, conversion.py,
timm_gains.py, verify. Tests: reference_tests/weights/test_weights.py, test_formats.py, test_timm_gains.py; against
timm: reference_tests/tools/against_timm.py.
"""

import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from ..backend import namespace
from ..backend.arrays import Array
from ..errors import InputError
from .name_tables import Table, kind_of, most_fitting
from .naming import depths_of
from .timm_names import MARKS, NAMINGS, STAGES

EPSILON = 1e-5  # what timm adds to the variance of the weights
FLOOR = 1e-4  # the least value of fan-in times that variance, in nfnumpy and in the authors' code
COUNTER = "num_batches_tracked"


def to_timm(state: Mapping[str, Array]) -> dict[str, Array]:
    """timm's state (name -> array) for a state of nfnumpy, of any family that timm has.

    Beside running statistics it has timm's `num_batches_tracked`, 0, which timm's layers do not use as they are made.
    Some of a network's arrays, such as gradients, can be translated too. InputError with a name that timm lacks.
    """
    if not isinstance(state, Mapping):
        raise InputError(f"state: expected a mapping from names to arrays, got a {type(state).__name__}")
    depths = depths_of(state)
    table, names, unknown = most_fitting((Table(naming, depths) for naming in NAMINGS), Table.theirs, state)
    if unknown:
        raise InputError(f"state: {str(unknown[0])[:80]!r} is no name of a network that timm also has")
    result = {}
    for name, array in state.items():
        as_convolution = name.rpartition(".")[0].endswith(table.naming.as_convolutions)
        result[names[name]] = their_layout(name, array, as_convolution)
        if name.endswith(".running_mean"):
            result[names[name].replace("running_mean", COUNTER)] = np.asarray(0)
    return result


def from_timm(state: Mapping[str, Array]) -> dict[str, Array]:
    """The state of nfnumpy (name -> array) for the state of one of timm's networks that are also here.

    What our networks lack is left out: the auxiliary classifier of Inception v3, and `num_batches_tracked`. InputError
    with the first wrong name when it is another network's, or of a model that has gamma in its weights.
    """
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise InputError("timm weights: expected a mapping from names to arrays")
    table, names, unknown = our_names(state)
    if table.naming.blocks == STAGES and names and not any(name.endswith(".skipinit_gain") for name in state):
        raise InputError("timm weights: there is no skipinit_gain, so they are of a model with gamma in its weights "
                         "and padding on all sides, as nfnet_*, nf_resnet*, nf_regnet*; dm_nfnet_* are the papers'")
    if unknown or not names:
        example = str(next(iter(unknown), "nothing"))[:80]
        raise InputError(f"timm weights: {example!r} is no name of a network that is also here")
    return {our: our_layout(name, our, state[name]) for name, our in names.items()}


def our_names(names: Iterable[str]) -> tuple[Table, dict[str, str], list[str]]:
    """(table, {timm's name: our name}, names that it lacks) of the family that most of timm's names fit."""
    wanted = [name for name in names if not name.endswith(f".{COUNTER}") and not name.startswith("AuxLogits.")]
    tables = (Table(naming, naming.depths(wanted)) for naming in NAMINGS)
    return most_fitting(tables, Table.ours, wanted)


def has_timm_names(state: Iterable[str]) -> bool:
    """Whether there are names that only timm's networks have."""
    return any(name.startswith(MARKS) or re.match(STAGES, name) for name in state)


def their_layout(name: str, array: Array, as_convolution: bool) -> Array:
    """Our array called `name` in timm's layout; as_convolution: whether a linear layer is a 1×1 convolution there."""
    xp = namespace(array)
    if name.endswith(".gain"):
        return xp.reshape(array, (-1, 1, 1, 1))
    if not name.endswith(".weight"):
        return array
    if array.ndim == 4:
        return xp.permute_dims(array, (3, 2, 0, 1))
    array = xp.permute_dims(array, (1, 0))
    return array[:, :, None, None] if as_convolution else array


def our_layout(name: str, our: str, array: Array) -> Array:
    """The array that timm calls `name` and nfnumpy `our`, in the layout of nfnumpy."""
    xp = namespace(array)
    shape = tuple(array.shape)
    if our.endswith(".gain") and shape == (*shape[:1], 1, 1, 1):
        return xp.reshape(array, (-1,))
    if not our.endswith((".gain", ".weight")):
        return array
    if our.endswith(".weight") and kind_of(our.rpartition(".")[0]) == "linear":
        array = array[:, :, 0, 0] if shape == (*shape[:2], 1, 1) else array
        if array.ndim == 2:
            return xp.permute_dims(array, (1, 0))
    elif our.endswith(".weight") and len(shape) == 4:
        return xp.permute_dims(array, (2, 3, 1, 0))
    raise InputError(f"timm weights: {name[:80]!r} has shape {shape}; expected (C, 1, 1, 1) of gains, two or four "
                     f"axes of weights")


def with_timm_epsilon(state: Mapping[str, Array]) -> dict[str, Array]:
    """A state of nfnumpy with its gains changed so that our network computes what timm's computes with `state`.

    timm standardizes with √(sigma² + 1e-5) where ours has √max(sigma², 1e-4/N), N being the fan-in; each gain is
    multiplied by the ratio of the two, in float64. Both networks still have GELUs of their own.
    """
    return _with_gains(state, lambda gain, ratio: gain * ratio)


def without_timm_epsilon(state: Mapping[str, Array]) -> dict[str, Array]:
    """A state of nfnumpy with its gains changed so that timm's network computes with it what ours does with `state`.

    The inverse of `with_timm_epsilon`, up to rounding: gains are divided by the ratio. `to_timm` of the result are the
    weights to load in timm.
    """
    return _with_gains(state, lambda gain, ratio: gain / ratio)


def _with_gains(state: Mapping[str, Array], change: Callable[[Array, Array], Array]) -> dict[str, Array]:
    """`state` with change(gain, ratio), computed in float64, for every gain; ratio: ours to timm's deviation."""
    changed = dict(state)
    for name, gain in state.items():
        if name.endswith(".gain"):
            weight = state.get(name.removesuffix("gain") + "weight")
            if weight is None or 0 in weight.shape or tuple(gain.shape) != tuple(weight.shape[-1:]):
                raise InputError(f"state: {name[:80]!r} has no weight of as many units beside it")
            xp = namespace(weight)
            # Copied to one layout, so that the sums have one order and their last bits do not depend on views.
            units = xp.astype(xp.reshape(weight, (-1, weight.shape[-1]), copy=True), xp.float64)
            variance = xp.var(units, axis=0)
            ratio = xp.sqrt(xp.clip(variance, FLOOR / units.shape[0], None) / (variance + EPSILON))
            changed[name] = xp.astype(change(xp.astype(gain, xp.float64), ratio), gain.dtype)
    return changed
