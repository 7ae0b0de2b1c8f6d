"""The names and layouts of timm's models: outputs first, gains (C, 1, 1, 1), squeeze-and-excite as 1×1 convolutions.

The renaming is exact. The networks differ slightly: timm's dm_ models add 1e-5 to the variance of the weights, which
`with_timm_epsilon` and `without_timm_epsilon` account for, and use the erf GELU. Its models without dm_ fold gamma into
the weights, have no skip gain and pad on all sides: they are not these networks. Used by: loading.py, conversion.py,
timm_gains.py, verify. Tests: reference_tests/weights/test_weights.py, test_formats.py, test_timm_gains.py; against
timm: reference_tests/tools/against_timm.py.
"""

import re
from collections.abc import Callable, Mapping

from ..backend import namespace
from ..backend.arrays import Array
from ..errors import InputError
from .naming import NUMBER, check_names, family_of, renamed, stage_positions

EPSILON = 1e-5  # what timm adds to the variance of the weights
FLOOR = 1e-4  # the least value of fan-in times that variance, in nfnumpy and in the authors' code
BLOCK = rf"stages\.({NUMBER})\.({NUMBER})\."
PARTS = {"conv0": "conv1", "conv1": "conv2", "conv1b": "conv2b", "conv2": "conv3", "conv_shortcut": "downsample.conv"}
OUR_PARTS = {timm: ours for ours, timm in PARTS.items()}


def timm_name(name: str, family: str, positions: list[tuple[int, int]]) -> str:
    """timm's name of a parameter of nfnumpy; positions: of the blocks, as stage_positions returns them."""
    name = re.sub(rf"^stem_convs\.({NUMBER})", lambda k: f"stem.conv{int(k[1]) + 1}", name)
    name = re.sub(r"^initial_conv", "stem.conv", name)
    name = re.sub(r"^linear\.", "head.fc.", name)
    block = re.match(rf"blocks\.({NUMBER})\.([a-z0-9_]+)(.*)$", name)
    if block is None:
        return name
    stage, position = positions[int(block[1])]
    attention = "attn" if family == "NFRegNet" else "attn_last"
    parts = {**PARTS, "skip_gain": "skipinit_gain", "squeeze_excite": attention}
    part = parts.get(block[2], f"?{block[2]}")
    rest = block[3].replace(".fc1", ".fc2").replace(".fc0", ".fc1")
    return f"stages.{stage}.{position}.{part}{rest}"


def _names(state: Mapping[str, Array]) -> dict[str, str]:
    """Our name -> timm's, for a state of nfnumpy."""
    family = family_of(state)
    positions = stage_positions(state)
    return {name: timm_name(name, family, positions) for name in state}


def to_timm(state: Mapping[str, Array]) -> dict[str, Array]:
    """timm's state (name -> array) for a state of nfnumpy, of any family."""
    names = _names(state)
    result = {}
    for name, array in state.items():
        xp = namespace(array)
        if name.endswith(".gain"):
            array = xp.reshape(array, (-1, 1, 1, 1))
        elif name.endswith(".weight") and array.ndim == 4:
            array = xp.permute_dims(array, (3, 2, 0, 1))
        elif name.endswith(".weight"):
            array = xp.permute_dims(array, (1, 0))
            if "squeeze_excite" in name:
                array = array[:, :, None, None]
        result[names[name]] = array
    return result


def from_timm(state: Mapping[str, Array]) -> dict[str, Array]:
    """The state of nfnumpy (name -> array) for the state of one of timm's normalizer-free models.

    InputError with the first wrong name when it is another model's, or of a model that has gamma in its weights.
    """
    blocks = {name: re.match(BLOCK, name) for name in state}
    if any(blocks.values()) and not any(name.endswith(".skipinit_gain") for name in state):
        raise InputError("timm weights: there is no skipinit_gain, so they are of a model with gamma in its weights "
                         "and padding on all sides, as nfnet_*, nf_resnet*, nf_regnet*; dm_nfnet_* are the papers'")
    positions = {(int(block[1]), int(block[2])) for block in blocks.values() if block}
    index = {position: k for k, position in enumerate(sorted(positions))}
    names = {name: our_name(name, index) for name in state}
    ours = {names[name]: _our_layout(name, array) for name, array in state.items()}
    check_names(ours, "timm weights", theirs={our: name for name, our in names.items()})
    expected = {timm: our for our, timm in _names(ours).items()}
    return {our: ours[our] for our in renamed(state, expected, "timm weights")}


def our_name(name: str, index: Mapping[tuple[int, int], int]) -> str:
    """The name in nfnumpy for one of timm's; index: (stage, position in stage) -> number of the block."""
    name = re.sub(rf"^stem\.conv({NUMBER})\.", lambda k: f"stem_convs.{int(k[1]) - 1}.", name)
    name = re.sub(r"^stem\.conv\.", "initial_conv.", name)
    name = re.sub(r"^head\.fc\.", "linear.", name)
    block = re.match(rf"{BLOCK}(.*)$", name)
    if block is None:
        return name
    rest = block[3].replace("skipinit_gain", "skip_gain").replace("downsample.conv.", "conv_shortcut.")
    rest = re.sub(r"^attn(?:_last)?\.fc(\d)", lambda k: f"squeeze_excite.fc{int(k[1]) - 1}", rest)
    rest = re.sub(r"^(conv1|conv2b|conv2|conv3)\.", lambda k: OUR_PARTS[k[1]] + ".", rest)
    return f"blocks.{index[int(block[1]), int(block[2])]}.{rest}"


def _our_layout(name: str, array: Array) -> Array:
    """The array that timm calls `name`, in the layout of nfnumpy."""
    xp = namespace(array)
    shape = tuple(array.shape)
    if name.endswith(".gain") and shape == (*shape[:1], 1, 1, 1):
        return xp.reshape(array, (-1,))
    if not name.endswith((".gain", ".weight")):
        return array
    if name.endswith(".weight") and len(shape) == 2:
        return xp.permute_dims(array, (1, 0))
    if name.endswith(".weight") and len(shape) == 4 and ".attn" not in name:
        return xp.permute_dims(array, (2, 3, 1, 0))
    if name.endswith(".weight") and shape == (*shape[:2], 1, 1):
        return xp.permute_dims(array[:, :, 0, 0], (1, 0))
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
